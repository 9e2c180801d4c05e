/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Metrics and events. Every drop is counted once and told once (or counted as lost); forwarded packets are counted,
 * and told as the aggregation level says. Twins of the messages: agent/maps/events.ts.
 */
#pragma once

#include "config.h"
#include "actions.h"
#include "packet.h"

#define EVENT_DROP 1
#define EVENT_TRACE 4
#define EVENT_POLICY_VERDICT 5

#define CAPTURE_MAX 128

enum trace_point {
	TRACE_TO_ENDPOINT = 0,
	TRACE_TO_PROXY = 1,
	TRACE_TO_HOST = 2,
	TRACE_TO_STACK = 3,
	TRACE_TO_OVERLAY = 4,
	TRACE_FROM_ENDPOINT = 5,
	TRACE_FROM_HOST = 7,
	TRACE_FROM_OVERLAY = 9,
	TRACE_FROM_NETWORK = 10,
	TRACE_TO_NETWORK = 11,
};

#define TRACE_REASON_UNKNOWN 5

#define EVENT_FLAG_IPV6 1

struct drop_notify {
	__u8 type;
	__u8 subtype; /* the reason */
	__u16 source;
	__u32 hash;
	__u32 len_orig;
	__u16 len_cap;
	__u8 version;
	__u8 ext_version;
	__u32 src_label;
	__u32 dst_label;
	__u32 dst_id;
	__u16 line;
	__u8 file;
	__s8 ext_error;
	__u32 ifindex;
	__u8 flags;
	__u8 pad[3];
	__u64 ip_trace_id;
	__u32 cookie; /* extension 1 starts here */
	__u8 dir;
	__u8 pad2[3];
};
_Static_assert(sizeof(struct drop_notify) == 56, "layout is an ABI");
TWIN(drop_notify);

struct trace_notify {
	__u8 type;
	__u8 subtype; /* the observation point */
	__u16 source;
	__u32 hash;
	__u32 len_orig;
	__u16 len_cap;
	__u8 version;
	__u8 ext_version;
	__u32 src_label;
	__u32 dst_label;
	__u16 dst_id;
	__u8 reason;
	__u8 flags;
	__u32 ifindex;
	__be32 orig_addr[4];
	__u64 ip_trace_id;
};
_Static_assert(sizeof(struct trace_notify) == 56, "layout is an ABI");
TWIN(trace_notify);

struct policy_verdict_notify {
	__u8 type;
	__u8 subtype;
	__u16 source;
	__u32 hash;
	__u32 len_orig;
	__u16 len_cap;
	__u8 version;
	__u8 ext_version;
	__u32 remote_label;
	__s32 verdict;
	__u16 dst_port;
	__u8 proto;
	__u8 dir : 2, ipv6 : 1, match_type : 3, audited : 1, l3 : 1;
	__u8 auth_type;
	__u8 pad[3];
	__u32 cookie;
	__u32 pad2;
};
_Static_assert(sizeof(struct policy_verdict_notify) == 40, "layout is an ABI");
TWIN(policy_verdict_notify);

static __always_inline void count_dropped(__u32 bytes, struct metrics_key *key)
{
	struct metrics_value *value = bpf_map_lookup_elem(&cilium_metrics, key);
	struct metrics_value first = {};

	if (value) {
		value->count++;
		value->bytes += bytes;
		return;
	}
	first.count = 1;
	first.bytes = bytes;
	bpf_map_update_elem(&cilium_metrics, key, &first, BPF_ANY);
}

static __always_inline void count_forwarded(struct __sk_buff *skb, __u32 dir)
{
	struct metrics_value *value = bpf_map_lookup_elem(&cilium_forwarded, &dir);

	if (value) {
		value->count++;
		value->bytes += skb->len;
	}
}

/* By type: a drop that nobody is told of must not be lost among traces. */
static __always_inline void count_lost(__u32 type)
{
	__u64 *lost = bpf_map_lookup_elem(&cilium_events_lost, &type);

	if (lost)
		(*lost)++;
}

static __always_inline __u64 runtime_config(__u32 index)
{
	__u64 *value = bpf_map_lookup_elem(&cilium_runtime_config, &index);

	return value ? *value : 0;
}

/* How much of the packet an event carries: never more than the record has room for. */
static __always_inline __u32 capture_len(struct __sk_buff *skb)
{
	__u32 len = config_capture_bytes;

	if (len > skb->len)
		len = skb->len;
	return len > CAPTURE_MAX ? CAPTURE_MAX : len;
}

/* Copies the packet's start behind a message; `len` is told in its header. */
static __always_inline void capture(struct __sk_buff *skb, void *to, __u32 len)
{
	/* The bound must be seen by the verifier right before the call, in the register that is passed. */
	asm volatile("if %0 <= 128 goto +1\n\t%0 = 0" : "+r"(len));
	if (len)
		bpf_skb_load_bytes(skb, 0, to, len);
}

static __noinline __maybe_unused int send_drop(struct __sk_buff *skb, struct packet *p, __u8 reason)
{
	__u32 len = capture_len(skb);
	struct drop_notify *drop;

	drop = bpf_ringbuf_reserve(&cilium_events, sizeof(*drop) + CAPTURE_MAX, 0);
	if (!drop) {
		count_lost(EVENT_DROP);
		return 0;
	}
	*drop = (struct drop_notify){
		.type = EVENT_DROP,
		.subtype = reason,
		.source = p->endpoint_id,
		.hash = skb->hash,
		.len_orig = skb->len,
		.len_cap = len,
		.version = 3,
		.ext_version = 1,
		.src_label = p->src_id,
		.dst_label = p->dst_id,
		.dst_id = p->dst_endpoint,
		.line = p->line,
		.file = p->file,
		.ifindex = skb->ifindex,
		.flags = p->flags & PACKET_IPV6 ? EVENT_FLAG_IPV6 : 0,
		.cookie = p->cookie,
		.dir = p->dir,
	};
	capture(skb, (void *)(drop + 1), len);
	bpf_ringbuf_submit(drop, 0);
	return 0;
}

/* The end of every program: one count and one event for a drop, whatever else a verdict says passes through. */
static __always_inline int finish(struct __sk_buff *skb, struct packet *p, int ret)
{
	struct metrics_key key = {.dir = p->dir, .line = p->line, .file = p->file};

	if (likely(ret >= 0))
		return ret;
	key.reason = -ret;
	count_dropped(skb->len, &key);
	send_drop(skb, p, -ret);
	return TC_ACT_SHOT;
}

static __noinline __maybe_unused int send_trace(struct __sk_buff *skb, struct packet *p, __u8 point)
{
	__u32 len = capture_len(skb);
	struct trace_notify *trace;

	trace = bpf_ringbuf_reserve(&cilium_events, sizeof(*trace) + CAPTURE_MAX, 0);
	if (!trace) {
		count_lost(EVENT_TRACE);
		return 0;
	}
	*trace = (struct trace_notify){
		.type = EVENT_TRACE,
		.subtype = point,
		.source = p->endpoint_id,
		.hash = skb->hash,
		.len_orig = skb->len,
		.len_cap = len,
		.version = 2,
		.src_label = p->src_id,
		.dst_label = p->dst_id,
		.dst_id = p->dst_endpoint,
		.reason = p->ct,
		.ifindex = skb->ifindex,
		.orig_addr = {p->tuple.saddr},
	};
	if (p->flags & PACKET_IPV6) {
		trace->flags = EVENT_FLAG_IPV6;
		bpf_skb_load_bytes(skb, IPV6_OFF(saddr), trace->orig_addr, sizeof(trace->orig_addr));
	}
	capture(skb, (void *)(trace + 1), len);
	bpf_ringbuf_submit(trace, 0);
	return 0;
}

/* Points a packet reaches: told for new and closing connections, for all only without aggregation. */
static __always_inline void trace_to(struct __sk_buff *skb, struct packet *p, enum trace_point point)
{
	if (p->monitor || runtime_config(RUNTIME_MONITOR_AGGREGATION) < AGGREGATE_MEDIUM)
		send_trace(skb, p, point);
}

/* Points a packet comes from: told only without aggregation. */
static __always_inline void trace_from(struct __sk_buff *skb, struct packet *p, enum trace_point point)
{
	if (runtime_config(RUNTIME_MONITOR_AGGREGATION) < AGGREGATE_LOW)
		send_trace(skb, p, point);
}

struct verdict {
	__s32 verdict;
	__u32 remote_id;
	__be16 port;
	__u8 match_type;
	__u8 audited;
};

static __noinline __maybe_unused int send_verdict(struct __sk_buff *skb, struct packet *p, struct verdict *v)
{
	struct policy_verdict_notify *event;
	__u32 len = capture_len(skb);

	if (runtime_config(RUNTIME_POLICY_VERDICT_OFF))
		return 0;
	event = bpf_ringbuf_reserve(&cilium_events, sizeof(*event) + CAPTURE_MAX, 0);
	if (!event) {
		count_lost(EVENT_POLICY_VERDICT);
		return 0;
	}
	*event = (struct policy_verdict_notify){
		.type = EVENT_POLICY_VERDICT,
		.source = p->endpoint_id,
		.hash = skb->hash,
		.len_orig = skb->len,
		.len_cap = len,
		.version = 1,
		.remote_label = v->remote_id,
		.verdict = v->verdict,
		.dst_port = bpf_ntohs(v->port),
		.proto = p->tuple.nexthdr,
		.dir = p->dir,
		.ipv6 = p->flags & PACKET_IPV6 ? 1 : 0,
		.match_type = v->match_type,
		.audited = v->audited,
		.cookie = p->cookie,
	};
	capture(skb, (void *)(event + 1), len);
	bpf_ringbuf_submit(event, 0);
	return 0;
}
