// completion: scripts that complete verbs, options, formats and files; made from the table of verbs.

import type {Verb, VerbSpec} from '../context.js';
import {EXIT, usage} from '../errors.js';
import {FORMATS} from '../output.js';
import {VERBS} from '../verbs.js';

const SHELLS: Readonly<Record<string, (verbs: readonly VerbSpec[]) => string>> = {bash: bashScript, zsh: zshScript, fish: fishScript};

export const completion: Verb = async ({args, io}) => {
  const [shell = 'bash'] = args;
  const script = SHELLS[shell];
  if (script === undefined) throw usage(`no completion for ${shell}; ${Object.keys(SHELLS).join(', ')} have one`);
  io.out(script(VERBS));
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

const COMMON = ['-o', '--output', '--api-socket', '--bpf-root', '--pinned', '--kubeconfig', '--timeout', '--help'];

/** `-n, --namespace <name>` is `-n` and `--namespace`. */
function optionsOf({options = []}: VerbSpec): string[] {
  return options.flatMap(([flags]) => flags.split(/[ ,]+/).filter((word) => word.startsWith('-')));
}

function formatsOf({formats = []}: VerbSpec): string[] {
  return [...FORMATS, ...formats];
}


function bashScript(verbs: readonly VerbSpec[]): string {
  const following = [...nextWords(verbs)].map(([before, words]) => `    '${before}') words='${words.join(' ')}' ;;`).join('\n');
  return `_stentorctl() {
  local current=\${COMP_WORDS[COMP_CWORD]} last=\${COMP_WORDS[COMP_CWORD-1]} before= word words= options= formats='${FORMATS.join(' ')}'
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in -*) ;; *) before="\${before:+$before }$word" ;; esac
  done
  # The verb: the longest beginning of the words that is one.
  local verb=$before
  while [ -n "$verb" ]; do
    case $verb in
${verbs.map((verb) => `      '${verb.path}') options='${optionsOf(verb).join(' ')}'; formats='${formatsOf(verb).join(' ')}'; break ;;`).join('\n')}
    esac
    case $verb in *' '*) verb=\${verb% *} ;; *) verb= ;; esac
  done
  case $last in
    -o | --output) COMPREPLY=($(compgen -W "$formats" -- "$current")); return ;;
    --input | --flows | --state | --pcap | --out | --config | --kubeconfig | --path | --api-socket | --bpf-root) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case $before in
${following}
  esac
  case $current in -*) words="$options ${COMMON.join(' ')}" ;; esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  [ -n "$words" ] || COMPREPLY=($(compgen -f -- "$current"))
}
complete -o filenames -F _stentorctl stentorctl kubectl-stentor
`;
}

function zshScript(verbs: readonly VerbSpec[]): string {
  const following = [...nextWords(verbs)].map(([before, words]) =>
    `    '${before}') next=(${words.map((word) => zshWord(word, summaryOf(verbs, before === '' ? word : `${before} ${word}`))).join(' ')}) ;;`).join('\n');
  return `#compdef stentorctl kubectl-stentor
_stentorctl() {
  local before= word verb options= formats='${FORMATS.join(' ')}'
  local -a next
  for word in "\${words[@]:1:$((CURRENT-2))}"; do
    case $word in (-*) ;; (*) before="\${before:+$before }$word" ;; esac
  done
  verb=$before
  while [ -n "$verb" ]; do
    case $verb in
${verbs.map((verb) => `      ('${verb.path}') options='${optionsOf(verb).join(' ')}'; formats='${formatsOf(verb).join(' ')}'; break ;;`).join('\n')}
    esac
    case $verb in (*' '*) verb=\${verb% *} ;; (*) verb= ;; esac
  done
  case \${words[CURRENT-1]} in
    (-o|--output) compadd -- \${=formats}; return ;;
    (--input|--flows|--state|--pcap|--out|--config|--kubeconfig|--path|--api-socket|--bpf-root) _files; return ;;
  esac
  if [[ \${words[CURRENT]} == -* ]]; then
    compadd -- \${=options} ${COMMON.join(' ')}
    return
  fi
  case $before in
${following.replaceAll(/^ {4}'/gm, "    ('")}
  esac
  if (( \${#next} )); then _describe 'command' next; else _files; fi
}
if [ "$funcstack[1]" = _stentorctl ]; then _stentorctl "$@"; else compdef _stentorctl stentorctl kubectl-stentor; fi
`;
}

function zshWord(word: string, summary: string): string {
  return `'${word}:${summary.replaceAll("'", '’').replaceAll(':', ' -')}'`;
}

function summaryOf(verbs: readonly VerbSpec[], path: string): string {
  return verbs.find((verb) => verb.path === path)?.summary ?? `${path} …`;
}

function fishScript(verbs: readonly VerbSpec[]): string {
  const quote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = [...nextWords(verbs)].flatMap(([before, words]) => words.map((word) =>
    `complete -c stentorctl -f -n ${quote(`__stentorctl_at ${quote(before).replaceAll("'", '"')}`)} -a ${quote(word)} -d ${quote(summaryOf(verbs, before === '' ? word : `${before} ${word}`))}`));
  const options = verbs.flatMap((verb) => {
    const at = `-n ${quote(`__stentorctl_in "${verb.path}"`)}`;
    const own = (verb.options ?? []).map(([flags, help]) => {
      const long = /--([\w-]+)/.exec(flags)?.[1] ?? '';
      const short = /(?:^|[ ,])-(\w)\b/.exec(flags)?.[1];
      return `complete -c stentorctl ${at}${short === undefined ? '' : ` -s ${short}`} -l ${long}${flags.includes('<') ? ' -r' : ''} -d ${quote(help)}`;
    });
    return [...own, `complete -c stentorctl ${at} -s o -l output -x -a ${quote(formatsOf(verb).join(' '))}`];
  });
  return `function __stentorctl_words
    for word in (commandline -opc)[2..-1]
        string match -q -- '-*' $word; or echo $word
    end
end
function __stentorctl_at
    set -l words (__stentorctl_words)
    test "$words" = "$argv"
end
function __stentorctl_in
    set -l words (__stentorctl_words)
    test "$words" = "$argv"; or string match -q -- "$argv *" "$words"
end
${lines.join('\n')}
${options.join('\n')}
complete -c kubectl-stentor -w stentorctl
`;
}
