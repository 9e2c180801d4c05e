/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether an IPv6 packet that leaves through an uplink is masqueraded: the exclusions of masquerade.h. */
#pragma once

#include "masquerade.h"
#include "nat6_icmp.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT6

static __always_inline bool in_ipmasq6(const struct ipv6_address *addr)
{
	struct ipmasq6_key key = {.prefixlen = 128};

	__builtin_memcpy(&key.addr, addr, sizeof(key.addr));
	return bpf_map_lookup_elem(&cilium_ipmasq_v6, &key) != NULL;
}

static __always_inline bool is_excluded6(const struct ipv6_address *addr)
{
	return in_ipmasq6(addr) || (!config_masquerade_remote_nodes && is_node_by_route(lookup_ipcache6(addr)));
}

static __always_inline int masquerade6_host(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple,
					    const struct ipv6_address *addr)
{
	if (p->flags & PACKET_ICMP_ERROR || !can_nat6(p))
		return TC_ACT_OK;
	if (!in_snat_range(tuple->nexthdr == IPPROTO_ICMPV6 ? echo_id6(p) : tuple->sport))
		return TC_ACT_OK;
	p->src_id = HOST_ID;
	return nat6_out(skb, p, tuple, addr);
}

static __always_inline int masquerade6_pod(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple,
					   const struct ipv6_address *addr)
{
	int ret;

	if (is_excluded6(&tuple->daddr) || ct6_is_reply(skb, p, tuple))
		return TC_ACT_OK;
	if (!(p->flags & PACKET_ICMP_ERROR))
		return nat6_out(skb, p, tuple, addr);
	ret = nat6_icmp_error(skb, p, tuple, false);
	if (ret < 0)
		return ret;
	/* A pod's address never leaves: an error about no flow of ours stays here. */
	return ret ? TC_ACT_OK : DROP(p, DROP_NAT_NO_MAPPING);
}

static __noinline __maybe_unused int masquerade6(struct __sk_buff *skb, struct packet *p, const struct ipv6_address *addr)
{
	const struct endpoint_info *source;
	struct fragment6 fragment = {};
	STACK_TUPLE6(tuple);
	int ret = parse_ipv6(skb, p, &tuple, &fragment);

	if (ret < 0)
		return TC_ACT_OK; /* made by this node's stack: not ours to judge */
	if (same_ipv6(&tuple.saddr, addr))
		return parse_l4_6(skb, p, &tuple, &fragment) < 0 ? TC_ACT_OK : masquerade6_host(skb, p, &tuple, addr);
	/* Most of what leaves goes to the cluster itself: known without a lookup, whoever sends it. */
	if (in_cidrs6(&tuple.daddr, config_snat_exclusions6, config_snat_exclusion6_count))
		return TC_ACT_OK;
	source = lookup_endpoint6(&tuple.saddr);
	if (!source || source->flags & ENDPOINT_HOST)
		return TC_ACT_OK;
	p->src_id = source->sec_id;
	p->endpoint_id = source->lxc_id;
	ret = parse_l4_6(skb, p, &tuple, &fragment);
	return ret < 0 ? ret : masquerade6_pod(skb, p, &tuple, addr);
}
