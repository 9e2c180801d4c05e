/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tunnel: a packet carries the identity of its source as VNI. */
#pragma once

#include "events.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_ENCAP

/* The host is a remote node to others; what has a number of this node only is the world, of which there is one. */
static __always_inline __u32 wire_identity(__u32 identity)
{
	if (identity == HOST_ID)
		return REMOTE_NODE_ID;
	if (identity == WORLD_IPV4_ID || identity == WORLD_IPV6_ID)
		return WORLD_ID;
	return identity > MAX_WIRE_ID ? WORLD_ID : identity;
}

static __noinline __maybe_unused int encap_and_redirect(struct __sk_buff *skb, struct packet *p, __be32 node)
{
	struct bpf_tunnel_key key = {};

	key.tunnel_id = wire_identity(p->src_id);
	key.remote_ipv4 = bpf_ntohl(node);
	key.tunnel_ttl = 64;
	if (do_set_tunnel_key(skb, &key) < 0)
		return DROP(p, DROP_NO_TUNNEL_ENDPOINT);
	count_forwarded(skb, METRIC_EGRESS);
	trace_to(skb, p, TRACE_TO_OVERLAY);
	return do_redirect(config_overlay_ifindex);
}
