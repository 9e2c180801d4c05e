// policy validate: reads, checks, prints; the exit code is for CI.

import type {Verb} from '../context.js';
import {EXIT, usage} from '../errors.js';
import type {Io} from '../output.js';
import {printValue} from '../output.js';
import {checkManifests} from './check.js';
import {coloursOf, type Colours} from './colours.js';
import {atLeast, type Finding, type Report, type Severity} from './findings.js';
import {loadSettings, readInput, stringOption} from './input.js';
import {junitOf} from './junit.js';
import {sarifOf} from './sarif.js';

const SEVERITIES: readonly Severity[] = ['error', 'warning', 'note'];

export const validate: Verb = async (context) => {
  const least = SEVERITIES.find((severity) => severity === (stringOption(context, 'least') ?? 'warning'));
  if (least === undefined) throw usage(`--least is one of ${SEVERITIES.join(', ')}`);
  const settings = await loadSettings(context);
  const report = checkManifests(await readInput(context, context.args), settings);
  if (report.objects.length === 0 && report.findings.length === 0) throw usage('there is no policy in the input');
  await print(report, least, context);
  return report.findings.some(({severity}) => atLeast(severity, least)) ? EXIT.findings : EXIT.ok;
};

async function print(report: Report, least: Severity, {common, io}: Parameters<Verb>[0]): Promise<void> {
  switch (common.format) {
    case 'table': case 'wide':
      return printTable(report, io);
    case 'sarif':
      return printValue(io, 'json', sarifOf(report));
    case 'junit':
      return io.out(junitOf(report, least));
    case 'name':
      return report.findings.forEach(({file, line, code}) => io.out(`${file}:${line} ${code}\n`));
    case 'jsonl':
      return printValue(io, 'jsonl', report.findings);
    case 'json': case 'yaml': case 'html': case 'svg':
      return printValue(io, common.format, jsonOf(report));
  }
}

function jsonOf({objects, findings}: Report): unknown {
  const broken = new Set(findings.filter(({severity}) => severity === 'error').map(({object}) => (object === null ? '' : nameOf(object))));
  return {
    valid: broken.size === 0, counts: countsOf({objects, findings}), findings,
    objects: objects.map((item) => ({...item, valid: !broken.has(nameOf(item.object))})),
  };
}

function countsOf({objects, findings}: Report): Readonly<Record<string, number>> {
  const count = (wanted: Severity): number => findings.filter(({severity}) => severity === wanted).length;
  return {objects: objects.length, errors: count('error'), warnings: count('warning'), notes: count('note')};
}

function nameOf({kind, namespace, name}: {readonly kind: string; readonly namespace: string; readonly name: string}): string {
  return `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
}

function printTable(report: Report, io: Io): void {
  const colours = coloursOf(io);
  for (const finding of report.findings) io.out(findingText(finding, colours));
  const {objects, errors, warnings, notes} = countsOf(report);
  io.out(`${objects} policies: ${errors} errors, ${warnings} warnings, ${notes} notes\n`);
}

function findingText({severity, code, object, path, file, line, column, reason, fix}: Finding, colours: Colours): string {
  const paint = severity === 'error' ? colours.bad : severity === 'warning' ? colours.warn : colours.dim;
  const place = file === '' ? '' : `${file}:${line}:${column}: `;
  const what = [object === null ? '' : nameOf(object), path].filter((text) => text !== '').join(' ');
  return `${colours.bold(place)}${paint(severity)} ${code}: ${reason}\n${what === '' ? '' : `    in   ${what}\n`}    fix  ${fix}\n`;
}
