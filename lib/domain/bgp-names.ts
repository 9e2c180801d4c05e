// Names by which people, stentorctl and the operator speak of drains and of changes that wait.

/** On a Node: it is drained, and what is withdrawn at the end (`never`, `redundant`, `all`; anything else: as the operator is told). `false`: it never is. */
export const DRAIN_ANNOTATION = 'bgp.stentor.io/drain';
/** Condition of a CiliumBGPNodeConfig. */
export const DRAINING = 'stentor.io/Draining';
/** Condition of BGP objects, and of CiliumBGPNodeConfigs: something would be withdrawn, and waits. */
export const WITHDRAWAL_HELD = 'stentor.io/WithdrawalHeld';
/** Value: the hash of the change that is meant; or `delete`, before an object is deleted. On the ConfigMap: hashes, for objects that are gone. */
export const CONFIRM_ANNOTATION = 'bgp.stentor.io/confirm-withdraw';
/** The ConfigMap of what was let through, unless another one is named. */
export const ACCEPTED_CONFIG_MAP = 'kube-system/stentor-bgp-accepted';
/** Its key with the changes that wait. The others are `kind.name`. */
export const WAITING_KEY = 'waiting';
