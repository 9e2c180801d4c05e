// The link-layer addresses of a world of the probe: the pod, its device on the node, somebody else.

export const MACS = {pod: '0a:00:00:00:00:01', lxc: '0a:00:00:00:00:02', other: '0a:00:00:00:00:09'} as const;
