/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whether a packet that leaves through an uplink is masqueraded: Cilium's exclusions. */
#pragma once

#include "nat_icmp.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_NAT

static __always_inline bool in_ipmasq(__be32 addr)
{
	struct ipmasq_key key = {.prefixlen = 32, .addr = addr};

	return bpf_map_lookup_elem(&cilium_ipmasq_v4, &key) != NULL;
}

/* Other nodes route to pods natively; through the tunnel only pods are reached, so a node's own address is not excluded. */
static __always_inline bool is_node_by_route(const struct ipcache_value *entry)
{
	if (!entry || (entry->sec_identity != REMOTE_NODE_ID && entry->sec_identity != KUBE_APISERVER_ID))
		return false;
	return !config_tunnel_mode || entry->flags & IPCACHE_SKIP_TUNNEL;
}

static __always_inline bool is_excluded_node(__be32 addr)
{
	return !config_masquerade_remote_nodes && is_node_by_route(lookup_ipcache(addr));
}

static __always_inline bool is_excluded(__be32 addr)
{
	return in_ipmasq(addr) || is_excluded_node(addr);
}

/* The node's own connections take part only where a pod's port could collide with theirs. */
static __always_inline int masquerade_host(struct __sk_buff *skb, struct packet *p, __be32 addr)
{
	if (p->flags & PACKET_ICMP_ERROR || (!has_nat_ports(p->tuple.nexthdr) && !is_echo(p)))
		return TC_ACT_OK;
	if (!in_snat_range(p->tuple.nexthdr == IPPROTO_ICMP ? echo_id(p) : p->tuple.sport))
		return TC_ACT_OK;
	if (p->tuple.nexthdr == IPPROTO_UDP && p->tuple.dport == bpf_htons(config_tunnel_port))
		return TC_ACT_OK;
	p->src_id = HOST_ID;
	return nat_out(skb, p, addr);
}

static __always_inline int masquerade_pod(struct __sk_buff *skb, struct packet *p, __be32 addr)
{
	int ret;

	if (is_excluded(p->tuple.daddr) || ct_is_reply(skb, p))
		return TC_ACT_OK;
	if (p->flags & PACKET_ICMP_ERROR) {
		ret = nat_icmp_error(skb, p, false);
		if (ret < 0)
			return ret;
		/* A pod's address never leaves: an error about no flow of ours stays here. */
		return ret ? TC_ACT_OK : DROP(p, DROP_NAT_NO_MAPPING);
	}
	return nat_out(skb, p, addr);
}

static __always_inline int masquerade(struct __sk_buff *skb, struct packet *p, __be32 addr)
{
	const struct endpoint_info *source;
	int ret = parse_ipv4(skb, p);

	if (ret < 0)
		return TC_ACT_OK; /* made by this node's stack: not ours to judge */
	if (p->tuple.saddr == addr)
		return parse_l4(skb, p) < 0 ? TC_ACT_OK : masquerade_host(skb, p, addr);
	/* Most of what leaves goes to the cluster itself: known without a lookup, whoever sends it. */
	if (in_cidrs(p->tuple.daddr, config_snat_exclusions, config_snat_exclusion_count))
		return TC_ACT_OK;
	source = lookup_endpoint(p->tuple.saddr);
	if (!source || source->flags & ENDPOINT_HOST)
		return TC_ACT_OK;
	p->src_id = source->sec_id;
	p->endpoint_id = source->lxc_id;
	ret = parse_l4(skb, p);
	return ret < 0 ? ret : masquerade_pod(skb, p, addr);
}
