// Devices that are ours by their name, whoever made them.

/** Of the node. `cilium_net` is the peer of `cilium_host` and goes with it. */
export const NODE_DEVICES: ReadonlySet<string> = new Set(['cilium_host', 'cilium_vxlan']);

/** The node's side of a pod: Cilium's prefix, and digits of the hash of container and interface. */
export const POD_DEVICE = /^lxc[0-9a-f]{12}$/;
