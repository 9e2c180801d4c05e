// SARIF 2.1.0, as code hosts show it beside the lines of a pull request.

import {compareStrings} from '../../lib/core/order.js';
import {fixOf, type Report, type Severity} from './findings.js';

const LEVELS: Readonly<Record<Severity, string>> = {error: 'error', warning: 'warning', note: 'note'};

export function sarifOf({findings}: Report): unknown {
  const codes = [...new Set(findings.map(({code}) => code))].sort(compareStrings);
  return {
    $schema: 'https://json.schemastore.org/sarif-2.1.0.json',
    version: '2.1.0',
    runs: [{
      tool: {driver: {
        name: 'stentorctl policy validate',
        rules: codes.map((id) => ({id, name: id, shortDescription: {text: id}, help: {text: fixOf(id)}})),
      }},
      results: findings.map(({severity, code, object, path, file, line, column, reason, fix}) => ({
        ruleId: code, ruleIndex: codes.indexOf(code), level: LEVELS[severity], message: {text: `${reason}. Fix: ${fix}.`},
        locations: [{
          physicalLocation: {artifactLocation: {uri: file.replaceAll('\\', '/')}, region: {startLine: Math.max(1, line), startColumn: Math.max(1, column)}},
          ...(object === null ? {} : {logicalLocations: [{fullyQualifiedName: `${object.kind}/${object.namespace === '' ? '' : `${object.namespace}/`}${object.name}${path === '' ? '' : `#${path}`}`}]}),
        }],
      })),
    }],
  };
}
