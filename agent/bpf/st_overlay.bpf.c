/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tunnel device, cilium_vxlan: packets of other nodes' pods with their identity as VNI, and ours on their way out. */

#include "lib/deliver.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ST_OVERLAY

/* Nobody is the host over the wire. A remote node speaks for itself or for a node address: the ipcache knows better. */
static __always_inline int identity_from_tunnel(struct packet *p, __u32 vni)
{
	const struct ipcache_value *source;

	if (vni == HOST_ID || vni == 0)
		return DROP(p, DROP_INVALID_IDENTITY);
	p->src_id = vni;
	if (vni != REMOTE_NODE_ID)
		return 0;
	source = lookup_ipcache(p->tuple.saddr);
	if (source && source->sec_identity == HOST_ID)
		return DROP(p, DROP_INVALID_SIP);
	if (source)
		p->src_id = source->sec_identity;
	return 0;
}

static __always_inline int from_overlay(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint_info *local;
	struct bpf_tunnel_key key = {};
	int ret;

	if (do_get_tunnel_key(skb, &key) < 0)
		return DROP(p, DROP_NO_TUNNEL_KEY);
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return DROP(p, DROP_UNKNOWN_L3);
	ret = parse_ipv4(skb, p);
	if (ret < 0)
		return ret;
	ret = identity_from_tunnel(p, key.tunnel_id);
	if (ret < 0)
		return ret;
	local = lookup_endpoint(p->tuple.daddr);
	if (!local)
		return DROP(p, DROP_UNROUTABLE);
	/* The inner MACs are those of another node: without this the stack takes the packet for somebody else's. */
	do_change_type(skb, PACKET_HOST);
	if (local->flags & ENDPOINT_HOST) {
		p->dst_id = HOST_ID;
		count_forwarded(skb, METRIC_INGRESS);
		return TC_ACT_OK;
	}
	ret = parse_l4(skb, p);
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_OVERLAY);
	return deliver(skb, p, local, DELIVER_FORWARD);
}

SEC("tc")
int cil_from_overlay(struct __sk_buff *skb)
{
	struct packet p = {.dir = METRIC_INGRESS};

	return finish(skb, &p, from_overlay(skb, &p));
}

/* The mark goes with the encapsulated packet: the uplink's program must not masquerade it. */
SEC("tc")
int cil_to_overlay(struct __sk_buff *skb)
{
	skb->mark = MARK_MAGIC_OVERLAY;
	return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
