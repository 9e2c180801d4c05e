// Shared and own layer → the state of one node.

import {diffStates} from '../../lib/desired/diff.js';
import type {Delta, NodeState} from '../../lib/desired/node-state.js';
import type {Layer} from './span.js';

const NOTHING: NodeState = new Map();

export function assemble(shared: Layer, own: Layer | undefined): NodeState {
  return own === undefined ? shared : new Map([...shared, ...own]);
}

/** What `operator render` prints: the state in dependency order, with its version. */
export function renderState(state: NodeState): Pick<Delta, 'version' | 'upserts'> {
  const {version, upserts} = diffStates(NOTHING, state);
  return {version, upserts};
}
