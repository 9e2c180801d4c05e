/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tunnel device, cilium_vxlan: packets of other nodes' pods with their identity as VNI, and ours on their way out. */

#include "lib/deliver4.h"
#include "lib/deliver6.h"
#include "lib/lookup6.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ST_OVERLAY

/* What a VNI says of who sent it. Nobody is the host over the wire. */
static __always_inline int identity_from_tunnel(struct packet *p, __u32 vni)
{
	if (vni == HOST_ID || vni == 0)
		return DROP(p, DROP_INVALID_IDENTITY);
	p->src_id = vni;
	return 0;
}

/* A remote node speaks for itself or for a node address: the ipcache knows better. */
static __always_inline int identity_of_node(struct packet *p, const struct ipcache_value *source)
{
	if (source && source->sec_identity == HOST_ID)
		return DROP(p, DROP_INVALID_SIP);
	if (source)
		p->src_id = source->sec_identity;
	return 0;
}

/* The worlds of the two families travel as one. */
static __always_inline void tell_worlds_apart(struct packet *p, __u32 world)
{
	if (p->src_id == WORLD_ID)
		p->src_id = world;
}

/* To the node itself. */
static __always_inline int to_host(struct __sk_buff *skb, struct packet *p)
{
	p->dst_id = HOST_ID;
	count_forwarded(skb, METRIC_INGRESS);
	return TC_ACT_OK;
}

#include "lib/family4.h"
#include "lib/overlay_family.h"

#include "lib/family6.h"
#include "lib/overlay_family.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ST_OVERLAY

static __always_inline int from_overlay(struct __sk_buff *skb, struct packet *p)
{
	struct bpf_tunnel_key key = {};
	int ret;

	if (do_get_tunnel_key(skb, &key) < 0)
		return DROP(p, DROP_NO_TUNNEL_KEY);
	ret = identity_from_tunnel(p, key.tunnel_id);
	if (ret < 0)
		return ret;
	switch (skb->protocol) {
	case bpf_htons(ETH_P_IP):
		return packet_from_overlay4(skb, p);
	case bpf_htons(ETH_P_IPV6):
		return config_ipv6 ? packet_from_overlay6(skb, p) : DROP(p, DROP_UNKNOWN_L3);
	default:
		return DROP(p, DROP_UNKNOWN_L3);
	}
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
