/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Everything a pod sends: tc ingress of its veth's host side. One program for all endpoints of the node. */

#include "lib/arp.h"
#include "lib/deliver.h"
#include "lib/encap.h"
#include "lib/fib6.h"
#include "lib/lookup6.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ST_ENDPOINT

/* Beyond this node: through the tunnel where the ipcache says so, else by the routes. */
static __always_inline int to_remote(struct __sk_buff *skb, struct packet *p, const struct ipcache_value *remote)
{
	if (config_tunnel_mode && remote && remote->flags & IPCACHE_HAS_TUNNEL_ENDPOINT &&
	    !(remote->flags & IPCACHE_SKIP_TUNNEL))
		return encap_and_redirect(skb, p, remote->tunnel_endpoint[0]);
	/* Nobody here has it: routing it would only come back. */
	if (in_pod_cidr(p->tuple.daddr))
		return DROP(p, DROP_UNROUTABLE);
	if (p->ct == CT_REPLY || p->ct == CT_RELATED)
		skb->mark = MARK_MAGIC_SNAT_DONE; /* an answer keeps its source */
	return fib_redirect(skb, p);
}

static __always_inline int ipv4_from_container(struct __sk_buff *skb, struct packet *p,
					       const struct endpoint_config *config)
{
	const struct ipcache_value *remote = NULL;
	const struct endpoint_info *local;
	struct ipv4_header *ip;
	int ret = parse_ipv4(skb, p);

	if (ret < 0)
		return ret;
	ip = ipv4_of(skb);
	/* 0 is nobody's address, also not that of an endpoint which has none. */
	if (!ip || !p->tuple.saddr || p->tuple.saddr != config->ipv4 || !same_mac(eth_of(ip)->src, config->mac))
		return DROP(p, DROP_INVALID_SIP);
	ret = parse_l4(skb, p);
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_ENDPOINT);
	if (config_tunnel_mode && p->tuple.nexthdr == IPPROTO_UDP && p->tuple.dport == bpf_htons(config_tunnel_port))
		return DROP(p, DROP_ENCAP_PROHIBITED);
	ret = ct_lookup(skb, p);
	if (ret < 0)
		return ret;
	local = lookup_endpoint(p->tuple.daddr);
	/* The trie is walked only by packets whose verdict or tunnel needs it. */
	if (!local && (config_tunnel_mode || p->ct == CT_NEW || p->ct == CT_ESTABLISHED))
		remote = lookup_ipcache(p->tuple.daddr);
	p->dst_id = local ? local->sec_id : identity_of(remote);
	if (p->ct == CT_NEW || p->ct == CT_ESTABLISHED) {
		ret = policy_verdict(skb, p, p->dst_id);
		if (ret < 0)
			return ret;
	}
	if (p->ct == CT_NEW) {
		ret = ct_create(skb, p);
		if (ret < 0)
			return ret;
	}
	if (!local)
		return to_remote(skb, p, remote);
	if (local->flags & ENDPOINT_HOST)
		return to_stack(skb, p, TRACE_TO_HOST);
	count_forwarded(skb, METRIC_EGRESS);
	return deliver(skb, p, local, DELIVER_FORWARD);
}

static __always_inline int to_remote6(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple,
				      const struct ipcache_value *remote)
{
	if (config_tunnel_mode && remote && remote->flags & IPCACHE_HAS_TUNNEL_ENDPOINT &&
	    !(remote->flags & IPCACHE_SKIP_TUNNEL))
		return encap_and_redirect(skb, p, remote->tunnel_endpoint[0]);
	/* Nobody here has it, or it is of the pod's link, on which there is nobody but the pod. */
	if (in_pod_cidr6(&tuple->daddr) || is_link_local6(&tuple->daddr))
		return DROP(p, DROP_UNROUTABLE);
	if (p->ct == CT_REPLY || p->ct == CT_RELATED)
		skb->mark = MARK_MAGIC_SNAT_DONE;
	return fib6_redirect(skb, p, tuple);
}

static __noinline int ipv6_forward(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple)
{
	const struct ipcache_value *remote = NULL;
	const struct endpoint_info *local;
	int ret = ct6_lookup(skb, p, tuple);

	if (ret < 0)
		return ret;
	local = lookup_endpoint6(&tuple->daddr);
	if (!local && (config_tunnel_mode || p->ct == CT_NEW || p->ct == CT_ESTABLISHED))
		remote = lookup_ipcache6(&tuple->daddr);
	p->dst_id = local ? local->sec_id : identity_of(remote);
	if (p->ct == CT_NEW || p->ct == CT_ESTABLISHED) {
		ret = policy_verdict(skb, p, p->dst_id);
		if (ret < 0)
			return ret;
	}
	if (p->ct == CT_NEW) {
		ret = ct6_create(skb, p, tuple);
		if (ret < 0)
			return ret;
	}
	if (!local)
		return to_remote6(skb, p, tuple, remote);
	if (local->flags & ENDPOINT_HOST)
		return to_stack(skb, p, TRACE_TO_HOST);
	count_forwarded(skb, METRIC_EGRESS);
	return deliver6(skb, p, tuple, local, DELIVER_FORWARD);
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
	ip = ipv6_of(skb);
	own = same_ipv6(&tuple.saddr, &config->ipv6) && !is_unspecified(&tuple.saddr);
	if (!ip || !same_mac(eth_of6(ip)->src, config->mac))
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
	return ipv6_forward(skb, p, &tuple);
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
