/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#undef SOURCE_FILE
#define SOURCE_FILE FILE_CT_FAMILY
/* Connection tracking of one family: see ct.h. Included by ct4.h and ct6.h. */

static __always_inline struct ct_entry *FN(ct_find)(tuple_t *key)
{
	if (key->nexthdr == IPPROTO_TCP) {
		struct ct_entry *entry = bpf_map_lookup_elem(&CT_TCP_MAP, key);

		barrier(); /* one call per map: only then can the verifier inline both */
		return entry;
	}
	return bpf_map_lookup_elem(&CT_ANY_MAP, key);
}

static __always_inline void FN(ct_reverse)(const tuple_t *tuple, tuple_t *reversed)
{
	COPY_ADDRESS(reversed->daddr, tuple->saddr);
	COPY_ADDRESS(reversed->saddr, tuple->daddr);
	reversed->dport = tuple->sport;
	reversed->sport = tuple->dport;
	reversed->nexthdr = tuple->nexthdr;
}

/* Whether somebody's connection has this key. Sets its flags. */
static __always_inline bool FN(ct_knows)(const struct packet *p, tuple_t *key, __u8 flags)
{
	struct ct_entry *entry;

	key->flags = flags;
	entry = FN(ct_find)(key);
	return entry && !ct_expired(entry, p->now);
}

/* An error that goes to the endpoint quotes what the endpoint sent, and the other way round. */
static __noinline __maybe_unused int FN(ct_lookup_error)(struct __sk_buff *skb, struct packet *p)
{
	inner_t inner __attribute__((aligned(8))) = {};
	STACK_TUPLE(reversed);
	bool sent = p->dir == METRIC_INGRESS;
	int ret;

	p->ct = CT_NEW;
	ret = FN(parse_inner)(skb, p, &inner);
	if (ret < 0)
		return ret;
	FN(ct_reverse)(&inner.tuple, &reversed);
	if (FN(ct_knows)(p, &inner.tuple, sent ? TUPLE_OUT : TUPLE_IN) || FN(ct_knows)(p, &reversed, sent ? TUPLE_IN : TUPLE_OUT))
		p->ct = CT_RELATED;
	return 0;
}

/* Sets p->ct and p->entry; writes nothing that others see. An answer is never taken for a new connection. */
static __noinline __maybe_unused int FN(ct_lookup)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple)
{
	bool opener = looks_like_opener(p);
	struct ct_entry *answered, *own = NULL;
	STACK_TUPLE(key);

	p->entry = NULL;
	p->monitor = 0;
	if (unlikely(p->flags & PACKET_ICMP_ERROR))
		return FN(ct_lookup_error)(skb, p);
	p->epoch = policy_epoch();
	if (opener) {
		COPY_TUPLE(key, *tuple);
		key.flags = p->dir == METRIC_EGRESS ? TUPLE_OUT : TUPLE_IN;
		own = FN(ct_find)(&key);
		if (own && !ct_expired(own, p->now) && !ct_closing(own))
			return ct_is(p, own, CT_ESTABLISHED);
	}
	FN(ct_reverse)(tuple, &key);
	key.flags = p->dir == METRIC_EGRESS ? TUPLE_IN : TUPLE_OUT;
	answered = FN(ct_find)(&key);
	if (ct_has(answered, p))
		return ct_is(p, answered, CT_REPLY);
	if (!opener) {
		COPY_TUPLE(key, *tuple);
		key.flags = p->dir == METRIC_EGRESS ? TUPLE_OUT : TUPLE_IN;
		own = FN(ct_find)(&key);
	}
	if (ct_has(own, p))
		return ct_is(p, own, CT_ESTABLISHED);
	p->monitor = 1;
	return ct_is(p, NULL, CT_NEW);
}

/* For a NEW packet that may pass. Errors make no entries. */
static __noinline __maybe_unused int FN(ct_create)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple, __u32 peer)
{
	struct ct_entry entry = {};
	STACK_TUPLE(key);
	long ret;

	if (p->flags & PACKET_ICMP_ERROR)
		return 0;
	COPY_TUPLE(key, *tuple);
	key.flags = p->dir == METRIC_EGRESS ? TUPLE_OUT : TUPLE_IN;
	ct_begin(skb, p, peer, &entry);
	if (key.nexthdr == IPPROTO_TCP)
		ret = do_ct_insert(&CT_TCP_MAP, &key, &entry);
	else
		ret = do_ct_insert(&CT_ANY_MAP, &key, &entry);
	return ret < 0 ? DROP(p, DROP_CT_CREATE_FAILED) : 0;
}

/* Whether a packet that leaves a pod answers somebody who opened the connection, or is about such a connection. */
static __noinline __maybe_unused int FN(ct_is_reply)(struct __sk_buff *skb, struct packet *p, tuple_t *tuple)
{
	inner_t inner __attribute__((aligned(8))) = {};
	STACK_TUPLE(reversed);

	if (p->flags & PACKET_ICMP_ERROR)
		return FN(parse_inner)(skb, p, &inner) == 0 && FN(ct_knows)(p, &inner.tuple, TUPLE_IN);
	FN(ct_reverse)(tuple, &reversed);
	return FN(ct_knows)(p, &reversed, TUPLE_IN);
}
