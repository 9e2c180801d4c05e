/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The verdict: two lookups in the endpoint's own map, one with the peer's identity, one with identity 0 (everybody).
 * Of two hits the one with the higher precedence counts, then the one with the longer protocol and port, then the
 * peer's. No hit is a drop: a direction without enforcement holds an entry that allows all.
 */
#pragma once

#include "events.h"
#include "lookup.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_POLICY

enum match_type {
	MATCH_NONE = 0,
	MATCH_L3_ONLY = 1,
	MATCH_L3_L4 = 2,
	MATCH_L4_ONLY = 3,
	MATCH_ALL = 4,
	MATCH_L3_PROTO = 5,
	MATCH_PROTO_ONLY = 6,
};

static __always_inline __u8 match_type(__u8 l4_bits, bool of_identity)
{
	if (l4_bits == 0)
		return of_identity ? MATCH_L3_ONLY : MATCH_ALL;
	if (l4_bits <= POLICY_PROTOCOL_BITS)
		return of_identity ? MATCH_L3_PROTO : MATCH_PROTO_ONLY;
	return of_identity ? MATCH_L3_L4 : MATCH_L4_ONLY;
}

/* What a policy calls the port: for ICMP its type. */
static __always_inline __be16 policy_port(const struct packet *p)
{
	switch (p->tuple.nexthdr) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		return p->tuple.dport;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return bpf_htons(p->icmp_type);
	default:
		return 0;
	}
}

static __always_inline bool of_everybody_wins(const struct policy_entry *everybody, const struct policy_entry *peer)
{
	if (!everybody)
		return false;
	if (!peer)
		return true;
	if (everybody->precedence != peer->precedence)
		return everybody->precedence > peer->precedence;
	return everybody->lpm_prefix_length > peer->lpm_prefix_length;
}

static __always_inline int policy_lookup(struct packet *p, __u32 remote_id, struct verdict *v)
{
	struct policy_key key = {
		.prefixlen = POLICY_FULL_PREFIX,
		.sec_label = remote_id,
		.egress = p->dir == METRIC_EGRESS,
		.protocol = p->tuple.nexthdr,
		.dport = policy_port(p),
	};
	const struct policy_entry *entry, *everybody;
	__u32 endpoint_id = p->endpoint_id;
	bool of_identity = true;
	void *policy;

	v->port = key.dport;
	v->remote_id = remote_id;
	p->cookie = 0;
	/* An empty slot is an endpoint that is not ready, never one without policy. */
	policy = bpf_map_lookup_elem(&cilium_policy, &endpoint_id);
	if (!policy)
		return DROP(p, DROP_EP_NOT_READY);
	entry = bpf_map_lookup_elem(policy, &key);
	if (!entry || entry->precedence != POLICY_PRECEDENCE_DENY) {
		key.sec_label = 0;
		everybody = bpf_map_lookup_elem(policy, &key);
		if (of_everybody_wins(everybody, entry)) {
			entry = everybody;
			of_identity = false;
		}
	}
	if (!entry)
		return DROP(p, DROP_POLICY);
	p->cookie = entry->cookie;
	v->match_type = match_type(entry->lpm_prefix_length, of_identity);
	if (entry->deny)
		return DROP(p, DROP_POLICY_DENY);
	if (entry->auth_type)
		return DROP(p, DROP_POLICY_AUTH_REQUIRED);
	/* No proxy serves this node: what should be looked at by one does not pass unseen. */
	if (entry->proxy_port)
		return DROP(p, DROP_PROXY_LOOKUP_FAILED);
	return 0;
}

static __always_inline bool is_policy_drop(int ret)
{
	return ret == DROP_POLICY || ret == DROP_POLICY_DENY || ret == DROP_POLICY_AUTH_REQUIRED;
}

/* 0 or a drop, for the endpoint and direction in `p`. New connections and denials are told. */
static __noinline __maybe_unused int policy_verdict(struct __sk_buff *skb, struct packet *p, __u32 remote_id)
{
	struct verdict v = {};
	struct endpoint_config *config;
	int ret;

	if (p->tuple.nexthdr == IPPROTO_ICMP && p->icmp_type == ICMP_DEST_UNREACH && p->icmp_code == ICMP_FRAG_NEEDED &&
	    p->flags & PACKET_ICMP_ERROR)
		return 0; /* path MTU discovery works whatever the policy says */
	ret = policy_lookup(p, remote_id, &v);
	v.verdict = ret;
	if (unlikely(ret < 0)) {
		config = lookup_config(p->endpoint_id);
		if (is_policy_drop(ret) && config && config->flags & CONFIG_AUDIT) {
			v.audited = 1;
			p->epoch = 0; /* each of its packets is told */
			ret = 0;
		}
	}
	if (v.verdict < 0 || p->ct == CT_NEW)
		send_verdict(skb, p, &v);
	return ret;
}
