// The order of effects in the kernel; the only copy. Adds go down this list, removes go up.

/**
 * Programs find maps filled, packets find programs, routes find devices with programs. Inside the maps: who a peer is before who may
 * talk, and the policy of an endpoint before packets can be delivered to it.
 */
export const STAGES = [
  'cilium_runtime_config', 'cilium_ep_config', 'cilium_ipcache', 'cilium_ipmasq_v4', 'cilium_ipmasq_v6', 'cilium_announced_v4', 'cilium_announced_v6', 'cilium_policy', 'cilium_lxc', 'cilium_if_to_ep',
  'links', 'sysctls', 'programs', 'attachments', 'routes',
] as const;

export type Stage = typeof STAGES[number];

export const STAGES_REVERSED: readonly Stage[] = [...STAGES].reverse();
