/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Everything a pod sends: tc ingress of its veth's host side. One program for all endpoints of the node. */

#include "lib/arp.h"
#include "lib/encap.h"
#include "lib/fib6.h"
#include "lib/lookup6.h"

#include "lib/family4.h"
#include "lib/forward_family.h"

#include "lib/family6.h"
#include "lib/forward_family.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ST_ENDPOINT

static __always_inline int ipv4_from_container(struct __sk_buff *skb, struct packet *p,
					       const struct endpoint_config *config)
{
	struct ipv4_header *ip;
	int ret = parse_ipv4(skb, p);

	if (ret < 0)
		return ret;
	ip = header_of4(skb);
	/* 0 is nobody's address, also not that of an endpoint which has none. */
	if (!ip || !p->tuple.saddr || p->tuple.saddr != config->ipv4 || !same_mac(eth_of(ip)->src, config->mac))
		return DROP(p, DROP_INVALID_SIP);
	ret = parse_l4(skb, p);
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_ENDPOINT);
	if (config_tunnel_mode && p->tuple.nexthdr == IPPROTO_UDP && p->tuple.dport == bpf_htons(config_tunnel_port))
		return DROP(p, DROP_ENCAP_PROHIBITED);
	return forward4(skb, p, &p->tuple);
}

static __noinline int ipv6_from_container(struct __sk_buff *skb, struct packet *p, const struct endpoint_config *config)
{
	struct fragment6 fragment = {};
	struct ipv6_header *ip;
	STACK_TUPLE6(tuple);
	bool own;
	int ret = parse_ipv6(skb, p, &tuple, &fragment);

	if (ret < 0)
		return ret;
	ip = header_of6(skb);
	own = same_ipv6(&tuple.saddr, &config->ipv6) && !is_unspecified(&tuple.saddr);
	if (!ip || !same_mac(eth_of(ip)->src, config->mac))
		return DROP(p, DROP_INVALID_SIP);
	/* On its link a pod has other names too, for the link's messages alone; and what comes in pieces is none of them. */
	if (!own && (tuple.nexthdr != IPPROTO_ICMPV6 || fragment.off ||
		     !(is_link_local6(&tuple.saddr) || is_unspecified(&tuple.saddr))))
		return DROP(p, DROP_INVALID_SIP);
	ret = parse_l4_6(skb, p, &tuple, &fragment);
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_ENDPOINT);
	if (tuple.nexthdr == IPPROTO_ICMPV6 && !fragment.off && is_link_message(p->icmp_type))
		return link_from_container(skb, p, config, &tuple);
	if (!own)
		return DROP(p, DROP_INVALID_SIP);
	if (config_tunnel_mode && tuple.nexthdr == IPPROTO_UDP && tuple.dport == bpf_htons(config_tunnel_port))
		return DROP(p, DROP_ENCAP_PROHIBITED);
	return forward6(skb, p, &tuple);
}

static __always_inline int from_container(struct __sk_buff *skb, struct packet *p)
{
	__u32 ifindex = skb->ifindex;
	const struct endpoint_config *config;
	__u32 *endpoint_id = bpf_map_lookup_elem(&cilium_if_to_ep, &ifindex);

	if (!endpoint_id)
		return DROP(p, DROP_EP_NOT_READY);
	p->endpoint_id = *endpoint_id;
	config = lookup_config(*endpoint_id);
	if (!config)
		return DROP(p, DROP_EP_NOT_READY);
	p->src_id = config->sec_id;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return ipv4_from_container(skb, p, config);
	case bpf_htons(ETH_P_ARP):
		return arp_from_container(skb, p, config);
	case bpf_htons(ETH_P_IPV6):
		return config_ipv6 ? ipv6_from_container(skb, p, config) : DROP(p, DROP_UNKNOWN_L3);
	default:
		return DROP(p, DROP_UNKNOWN_L3);
	}
}

SEC("tc")
int cil_from_container(struct __sk_buff *skb)
{
	struct packet p = {.dir = METRIC_EGRESS};

	skb->mark = 0; /* a pod cannot say what marks say */
	return finish(skb, &p, from_container(skb, &p));
}

char _license[] SEC("license") = "Dual BSD/GPL";
