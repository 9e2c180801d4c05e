// Shared and own layer → the state of one node.

import {diffStates} from '../../lib/desired/diff.js';
import type {Layer} from '../../lib/desired/layer.js';
import type {Delta, NodeState} from '../../lib/desired/node-state.js';

const NOTHING: NodeState = new Map();

export function assemble(shared: Layer, own: Layer | undefined): NodeState {
  return new Map([...shared.entries(), ...own?.entries() ?? []]);
}

/** What `operator render` prints: the state in dependency order, with its version. */
export function renderState(state: NodeState): Pick<Delta, 'version' | 'upserts'> {
  const {version, upserts} = diffStates(NOTHING, state);
  return {version, upserts};
}
