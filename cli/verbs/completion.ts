// completion: a script that completes verbs and formats; made from the table of verbs.

import type {Verb, VerbSpec} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {FORMATS} from '../output.js';
import {VERBS} from '../verbs.js';

export const completion: Verb = async ({args, io}) => {
  const [shell = 'bash'] = args;
  if (shell !== 'bash' && shell !== 'zsh') throw usage(`no completion for ${shell}; bash and zsh have one`);
  io.out((shell === 'zsh' ? 'autoload -U +X bashcompinit && bashcompinit\n' : '') + bashScript(VERBS));
  return EXIT.ok;
};

/** Which words may follow the words so far. */
export function nextWords(verbs: readonly Pick<VerbSpec, 'path'>[]): ReadonlyMap<string, readonly string[]> {
  const next = new Map<string, string[]>();
  for (const {path} of verbs) {
    const words = path.split(' ');
    for (const [i, word] of words.entries()) {
      const before = words.slice(0, i).join(' ');
      const known = next.get(before) ?? [];
      if (!known.includes(word)) next.set(before, [...known, word]);
    }
  }
  return next;
}

function bashScript(verbs: readonly VerbSpec[]): string {
  const cases = [...nextWords(verbs)].map(([before, words]) => `    '${before}') words='${words.join(' ')}' ;;`).join('\n');
  return `_stentorctl() {
  local current=\${COMP_WORDS[COMP_CWORD]} before= word words=
  if [ "\${COMP_WORDS[COMP_CWORD-1]}" = -o ] || [ "\${COMP_WORDS[COMP_CWORD-1]}" = --output ]; then
    COMPREPLY=($(compgen -W '${FORMATS.join(' ')}' -- "$current"))
    return
  fi
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) before="\${before:+$before }$word" ;; esac
  done
  case $before in
${cases}
  esac
  case $current in -*) words='-o --output --api-socket --bpf-root --pinned --timeout --help' ;; esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _stentorctl stentorctl kubectl-stentor
`;
}
