/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Uplinks (from and to the wire) and cilium_host / cilium_net (from and to this node's own stack). */

#include "lib/encap.h"
#include "lib/deliver4.h"
#include "lib/deliver6.h"
#include "lib/masquerade.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ST_HOST

#define IPV4_MULTICAST bpf_htonl(0xe0000000)
#define IPV4_MULTICAST_MASK bpf_htonl(0xf0000000)
#define IPV4_BROADCAST 0xffffffff

/* Where the stack's own messages go that stay on a link. */
static __always_inline bool is_of_link4(__be32 addr)
{
	return (addr & IPV4_MULTICAST_MASK) == IPV4_MULTICAST || addr == IPV4_BROADCAST;
}

static __always_inline bool is_of_link6(const struct ipv6_address *addr)
{
	return is_multicast6(addr) || is_link_local6(addr);
}

/* To pods of other nodes. `remote` null: nobody knows whose it is, or nothing is tunnelled. */
static __always_inline int host_to_remote(struct __sk_buff *skb, struct packet *p, const struct ipcache_value *remote)
{
	if (!remote || !(remote->flags & IPCACHE_HAS_TUNNEL_ENDPOINT))
		return DROP(p, config_tunnel_mode ? DROP_NO_TUNNEL_ENDPOINT : DROP_UNKNOWN_L3_TARGET);
	p->dst_id = remote->sec_identity;
	return encap_and_redirect(skb, p, remote->tunnel_endpoint[0]);
}

#include "lib/family4.h"
#include "lib/host_family.h"

#include "lib/family6.h"
#include "lib/host_family.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ST_HOST

static __always_inline bool is_tunnel_packet(const struct packet *p)
{
	return config_tunnel_mode && p->tuple.nexthdr == IPPROTO_UDP && p->tuple.dport == bpf_htons(config_tunnel_port);
}

/* To an address of this node: an answer to a masqueraded flow goes on to its pod, all else is the stack's. */
static __always_inline int to_uplink_address(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint_info *local;
	int ret;

	if (!config_masquerade || parse_l4(skb, p) < 0 || is_tunnel_packet(p))
		return TC_ACT_OK;
	if (p->flags & PACKET_ICMP_ERROR)
		ret = nat_icmp_error4(skb, p, &p->tuple, true);
	else
		ret = nat_in4(skb, p, &p->tuple);
	if (ret <= 0)
		return ret;
	if (is_device_address4(p->tuple.daddr))
		return TC_ACT_OK; /* the node's own, back on its own port */
	local = lookup_endpoint4(p->tuple.daddr);
	if (!local || local->flags & ENDPOINT_HOST)
		return DROP(p, DROP_UNROUTABLE); /* the pod is gone */
	return deliver_from_wire4(skb, p, &p->tuple, local);
}

static __always_inline int ipv4_from_netdev(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint_info *local;
	int ret;

	if (parse_ipv4(skb, p) < 0)
		return TC_ACT_OK;
	if (is_device_address4(p->tuple.daddr))
		return to_uplink_address(skb, p);
	local = lookup_endpoint4(p->tuple.daddr);
	if (!local)
		return in_pod_cidr4(p->tuple.daddr) ? DROP(p, DROP_UNROUTABLE) : TC_ACT_OK;
	if (local->flags & ENDPOINT_HOST)
		return TC_ACT_OK;
	ret = parse_l4(skb, p);
	return ret < 0 ? ret : deliver_from_wire4(skb, p, &p->tuple, local);
}

/* To an address of this node: 1 when it answers a masqueraded flow, and `tuple` has the pod; 0 when it is the stack's. */
static __noinline int answers_masqueraded6(struct __sk_buff *skb, struct packet *p, ipv6_ct_tuple_aligned *tuple,
					   struct fragment6 *fragment)
{
	if (!config_masquerade6 || parse_l4_6(skb, p, tuple, fragment) < 0)
		return 0;
	if (p->flags & PACKET_ICMP_ERROR)
		return nat_icmp_error6(skb, p, tuple, true);
	return nat_in6(skb, p, tuple);
}

/* What cannot be parsed is the stack's unless it is for a pod. */
static __noinline int ipv6_from_netdev(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint_info *local;
	struct fragment6 fragment = {};
	bool masqueraded = false;
	STACK_TUPLE6(tuple);
	int ret = parse_ipv6(skb, p, &tuple, &fragment);

	if (is_device_address6(&tuple.daddr)) {
		ret = ret < 0 ? 0 : answers_masqueraded6(skb, p, &tuple, &fragment);
		/* Also the node's own, back on its own port. */
		if (ret <= 0 || is_device_address6(&tuple.daddr))
			return ret < 0 ? ret : TC_ACT_OK;
		masqueraded = true;
	}
	local = lookup_endpoint6(&tuple.daddr);
	if (local && local->flags & ENDPOINT_HOST)
		return TC_ACT_OK;
	if (!local) /* nobody's, or of a pod that is gone */
		return masqueraded || in_pod_cidr6(&tuple.daddr) ? DROP(p, DROP_UNROUTABLE) : TC_ACT_OK;
	if (ret < 0)
		return ret;
	if (!masqueraded)
		ret = parse_l4_6(skb, p, &tuple, &fragment);
	return ret < 0 ? ret : deliver_from_wire6(skb, p, &tuple, local);
}

static __always_inline int from_netdev(struct __sk_buff *skb, struct packet *p)
{
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return ipv4_from_netdev(skb, p);
	case bpf_htons(ETH_P_IPV6):
		return config_ipv6 ? ipv6_from_netdev(skb, p) : TC_ACT_OK;
	default:
		return TC_ACT_OK;
	}
}

SEC("tc")
int cil_from_netdev(struct __sk_buff *skb)
{
	struct packet p = {.dir = METRIC_INGRESS};

	return finish(skb, &p, from_netdev(skb, &p));
}

static __noinline int ipv6_to_netdev(struct __sk_buff *skb, struct packet *p)
{
	int uplink = uplink6(skb->ifindex);
	struct ipv6_address addr __attribute__((aligned(8)));

	if (uplink < 0 || uplink >= MAX_DEVICES)
		return TC_ACT_OK;
	for (int i = 0; i < 4; i++)
		addr.word[i] = config_device_ipv6[uplink].word[i];
	return masquerade6(skb, p, &addr);
}

/*
 * From the wire back to the wire, for an address that this node announces: nothing here has served it (who does gives the packet another
 * destination), and the router would send it here again. What did not come from the wire pays one comparison.
 */
static __always_inline int drop_unserved(struct __sk_buff *skb, struct packet *p)
{
	if (!skb->ingress_ifindex || !device_ipv4(skb->ingress_ifindex))
		return TC_ACT_OK;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return drop_announced4(skb, p);
	case bpf_htons(ETH_P_IPV6):
		return config_ipv6 ? drop_announced6(skb, p) : TC_ACT_OK;
	default:
		return TC_ACT_OK;
	}
}

static __always_inline int to_netdev(struct __sk_buff *skb, struct packet *p)
{
	__u32 magic = skb->mark & MARK_MAGIC_MASK;
	bool ipv6 = config_ipv6 && config_masquerade6 && skb->protocol == bpf_htons(ETH_P_IPV6);
	__be32 addr;
	int ret = drop_unserved(skb, p);

	if (ret < 0)
		return ret;
	if (!ipv6 && (!config_masquerade || skb->protocol != bpf_htons(ETH_P_IP)))
		return TC_ACT_OK;
	/* Answers, what the tunnel made, and what a proxy sends in a pod's name. */
	if (magic == MARK_MAGIC_SNAT_DONE || magic == MARK_MAGIC_OVERLAY || magic == MARK_MAGIC_PROXY_INGRESS ||
	    magic == MARK_MAGIC_PROXY_EGRESS)
		return TC_ACT_OK;
	if (ipv6)
		return ipv6_to_netdev(skb, p);
	addr = device_ipv4(skb->ifindex);
	return addr ? masquerade4(skb, p, addr) : TC_ACT_OK;
}

SEC("tc")
int cil_to_netdev(struct __sk_buff *skb)
{
	struct packet p = {.dir = METRIC_EGRESS};

	return finish(skb, &p, to_netdev(skb, &p));
}

static __always_inline int from_host(struct __sk_buff *skb, struct packet *p)
{
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return from_host4(skb, p);
	case bpf_htons(ETH_P_IPV6):
		return config_ipv6 ? from_host6(skb, p) : TC_ACT_OK;
	default:
		return TC_ACT_OK;
	}
}

SEC("tc")
int cil_from_host(struct __sk_buff *skb)
{
	struct packet p = {.dir = METRIC_EGRESS};

	return finish(skb, &p, from_host(skb, &p));
}

/* cilium_net ingress: what from_host let through arrives here and is the stack's. */
SEC("tc")
int cil_to_host(struct __sk_buff *skb)
{
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
