// The option `labels` → which labels make identities. By itself, for who only filters needs no RE2.

import {RE2JS} from 're2js';

import {LabelFilter} from './label-filter.js';
import type {FilterRule} from './label-filter.js';

/** Rules between spaces, each `[source:][!]regex` (RE2), as in cilium-config. A text says what is wrong with them. */
export function parseLabelFilter(option: string): LabelFilter | string {
  const rules: FilterRule[] = [];
  for (const text of option.split(/\s+/).filter((one) => one !== '')) {
    const rule = filterRule(text);
    if (rule === null) return `${text} is not a rule for labels: [source:][!]regex is expected`;
    rules.push(rule);
  }
  return LabelFilter.with(rules);
}

function filterRule(text: string): FilterRule | null {
  const colon = text.indexOf(':');
  const source = colon < 0 ? null : text.slice(0, colon);
  const body = text.slice(colon + 1);
  const exclude = body.startsWith('!');
  const expression = exclude ? body.slice(1) : body;
  if (expression === '' || source === '' || source?.startsWith('!') === true) return null;
  try {
    const pattern = RE2JS.compile(expression);
    const length = (key: string): number => {
      const matcher = pattern.matcher(key);
      return matcher.lookingAt() ? matcher.end() : 0;
    };
    return {exclude, source, length};
  } catch {
    return null;
  }
}
