// JUnit XML as CI servers read it: one suite, one case for each object or assertion.

import {atLeast, type Finding, type Report, type Severity} from './findings.js';
import {xml} from './xml.js';

export interface JunitCase {
  readonly name: string;
  readonly classname: string;
  readonly file: string;
  readonly line: number;
  readonly failures: readonly {readonly type: string; readonly message: string; readonly text: string}[];
}

export function junit(suite: string, cases: readonly JunitCase[]): string {
  const failed = cases.filter(({failures}) => failures.length > 0).length;
  const counts = `tests="${cases.length}" failures="${failed}" errors="0" skipped="0"`;
  return `<?xml version="1.0" encoding="UTF-8"?>
<testsuites ${counts}>
  <testsuite name="${xml(suite)}" ${counts}>
${cases.map(caseText).join('')}  </testsuite>
</testsuites>
`;
}

function caseText({name, classname, file, line, failures}: JunitCase): string {
  const head = `    <testcase name="${xml(name)}" classname="${xml(classname)}" file="${xml(file)}" line="${line}"`;
  if (failures.length === 0) return `${head}/>\n`;
  const inner = failures.map(({type, message, text}) => `      <failure type="${xml(type)}" message="${xml(message)}">${xml(text)}</failure>\n`);
  return `${head}>\n${inner.join('')}    </testcase>\n`;
}

/** Findings without an object are cases of their own. */
export function junitOf({objects, findings}: Report, least: Severity): string {
  const counting = findings.filter(({severity}) => atLeast(severity, least));
  const nameOf = ({kind, namespace, name}: {readonly kind: string; readonly namespace: string; readonly name: string}): string =>
    `${kind} ${namespace === '' ? '' : `${namespace}/`}${name}`;
  const failure = ({code, reason, file, line, column, path, fix}: Finding): JunitCase['failures'][number] =>
    ({type: code, message: reason, text: `${file}:${line}:${column} ${path}: ${reason} (${fix})`});
  return junit('policy validate', [
    ...counting.filter(({object}) => object === null).map((finding) => ({
      name: `${finding.file}:${finding.line}`, classname: finding.file, file: finding.file, line: finding.line, failures: [failure(finding)],
    })),
    ...objects.map(({object, file, line}) => ({
      name: nameOf(object), classname: file, file, line,
      failures: counting.filter((finding) => finding.object !== null && nameOf(finding.object) === nameOf(object)).map(failure),
    })),
  ]);
}
