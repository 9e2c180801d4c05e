// Who may import whom: the table of docs/ARCHITECTURE.md as data. The longest matching folder decides.

export interface Wall {
  readonly folder: string;
  /** Folders or files of the project, besides itself. A trailing `*` is not needed: prefixes match. */
  readonly may: readonly string[];
  /** Whether `node:` modules are allowed. */
  readonly node: boolean;
  /** npm packages allowed; `*` = any. */
  readonly packages: readonly string[];
}

const CORE = ['lib/core', 'lib/domain'];
const RUN_PACKAGES = ['winston', 'ajv', 'prom-client', 'yaml', 'commander', '@grpc/grpc-js', 'protobufjs'];

export const WALLS: readonly Wall[] = [
  {folder: 'lib/core', may: [], node: false, packages: []},
  {folder: 'lib/domain', may: ['lib/core'], node: false, packages: ['re2js']},
  {folder: 'lib/policy', may: CORE, node: false, packages: []},
  {folder: 'lib/lbipam', may: CORE, node: false, packages: []},
  {folder: 'lib/ipam', may: CORE, node: false, packages: []},
  {folder: 'lib/desired', may: CORE, node: false, packages: []},
  {folder: 'lib/run', may: ['lib/core', 'proto', 'bpf-native/index'], node: true, packages: RUN_PACKAGES},
  {folder: 'lib/testing', may: ['lib', 'proto', 'agent', 'operator'], node: true, packages: ['*']},
  {folder: 'lib/kube', may: ['lib/core', 'lib/run'], node: true, packages: ['@kubernetes/client-node', 'undici', 'yaml']},
  {folder: 'crds', may: ['lib/core', 'lib/run'], node: true, packages: ['ajv', 're2js', 'yaml', '@marcbachmann/cel-js']},
  {folder: 'operator/watch', may: ['lib/core', 'lib/run', 'lib/kube', 'crds'], node: true, packages: ['yaml', 'undici']},
  {folder: 'operator/model', may: [...CORE, 'lib/policy', 'lib/desired', 'crds', 'operator/watch/feed-types'], node: false, packages: ['yaml', 're2js']},
  {folder: 'operator/compile', may: [...CORE, 'lib/policy', 'lib/lbipam', 'lib/ipam', 'lib/desired', 'operator/model'], node: false, packages: []},
  {folder: 'operator/desired', may: [...CORE, 'lib/policy', 'lib/desired'], node: false, packages: []},
  {folder: 'operator/desired/store', may: ['lib'], node: true, packages: []},
  {folder: 'operator/stream', may: ['lib', 'operator/desired', 'proto'], node: true, packages: ['@grpc/grpc-js', '@peculiar/x509', 'reflect-metadata', 'protobufjs']},
  {folder: 'operator/apply', may: ['lib', 'crds', 'operator/watch/feed-types'], node: true, packages: ['yaml']},
  {folder: 'operator/observe', may: ['lib'], node: true, packages: ['prom-client']},
  {folder: 'agent/watch', may: ['lib', 'agent/kernel', 'agent/model', 'proto'], node: true, packages: ['@grpc/grpc-js']},
  {folder: 'agent/model', may: CORE, node: false, packages: []},
  {folder: 'agent/maps', may: CORE, node: false, packages: []},
  {folder: 'agent/stream', may: ['lib', 'agent/desired', 'proto'], node: true, packages: ['@grpc/grpc-js', 'protobufjs']},
  {folder: 'agent/desired', may: ['lib'], node: true, packages: []},
  {folder: 'agent/compile', may: [...CORE, 'lib/policy', 'lib/desired', 'agent/model', 'agent/maps'], node: false, packages: []},
  {folder: 'agent/apply', may: ['lib', 'agent/compile/kernel-state', 'agent/maps', 'agent/kernel', 'proto'], node: true, packages: ['@grpc/grpc-js', 'protobufjs']},
  {folder: 'agent/kernel', may: ['lib/core', 'bpf-native'], node: true, packages: []},
  {folder: 'agent/cni', may: ['lib', 'agent/kernel', 'agent/model'], node: true, packages: []},
  // The programs with a probe in place of what leaves no trace in a packet: for tests, and for `stentorctl datapath run`.
  {folder: 'agent/bpf/probe', may: ['lib/core', 'lib/domain', 'agent/kernel', 'agent/maps'], node: true, packages: []},
  {folder: 'agent/observe', may: ['lib', 'agent/kernel', 'agent/model', 'agent/maps'], node: true, packages: ['prom-client']},
  {folder: 'bpf-native', may: [], node: true, packages: []},
  {folder: 'cli', may: ['lib', 'proto', 'crds', 'operator/model', 'operator/compile', 'operator/desired', 'agent/maps', 'agent/kernel', 'agent/bpf/probe'], node: true, packages: ['*']},
  {folder: 'proto', may: ['lib/run/grpc'], node: true, packages: ['protobufjs']},
  {folder: 'e2e', may: ['lib', 'operator', 'agent', 'cli', 'crds', 'proto', 'bpf-native'], node: true, packages: ['*']},
  {folder: 'tools', may: ['lib', 'agent', 'operator', 'cli', 'crds'], node: true, packages: ['*']},
];

/** Composition roots see everything in their binary. */
const ROOTS = /^(operator|agent)\/(wire|main|config)[^/]*\.ts$/;

/** Null when `file` may import `target` (a repository path without extension, `node:x`, or a package name). */
export function wallBroken(file: string, target: string): string | null {
  const binary = file.split('/')[0] ?? '';
  if (ROOTS.test(file)) {
    const other = binary === 'operator' ? 'agent/' : 'operator/';
    return target.startsWith(other) ? `${binary} never imports ${other}` : null;
  }
  const isTest = file.endsWith('.test.ts') || file.includes('/testing/') || file.includes('/tests/');
  if (isTest) return null;
  const wall = WALLS.filter(({folder}) => file === `${folder}.ts` || file.startsWith(`${folder}/`))
    .sort((a, b) => b.folder.length - a.folder.length)[0];
  if (wall === undefined) return 'the file lies in no known folder';
  if (target.startsWith('node:')) return wall.node ? null : 'this folder is pure: no node: modules';
  if (isProjectPath(target)) {
    const home = WALLS.map(({folder}) => folder).filter((folder) => file.startsWith(`${folder}/`))
      .sort((a, b) => a.length - b.length)[0] ?? wall.folder;
    const allowed = [wall.folder, home, ...wall.may];
    return allowed.some((prefix) => target === prefix || target.startsWith(`${prefix}/`) || target.startsWith(`${prefix}.`))
      ? null : `${wall.folder} may import only ${[...wall.may].join(', ') || 'itself'}`;
  }
  const allowed = wall.packages.includes('*') || wall.packages.some((name) => target === name || target.startsWith(`${name}/`));
  return allowed ? null : `${wall.folder} may not import the package ${target}`;
}

function isProjectPath(target: string): boolean {
  return /^(lib|operator|agent|cli|crds|proto|e2e|tools|bpf-native)(\/|$)/.test(target);
}
