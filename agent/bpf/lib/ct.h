/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Connection tracking. An entry belongs to one endpoint and one direction (OUT: it opened the connection, IN: it was
 * opened towards it); traffic between two pods of a node has one entry of each kind. The key is in packet order of the
 * first packet. An ICMP error is RELATED when the packet it quotes belongs to an entry. What needs a key is in ct_family.h.
 */
#pragma once

#include "config.h"
#include "actions.h"
#include "packet.h"

/* The numbers are those of trace reasons. */
enum ct_status {
	CT_NEW = 0,
	CT_ESTABLISHED = 1,
	CT_REPLY = 2,
	CT_RELATED = 3,
};

/* Garbage that was not collected yet. */
static __always_inline bool ct_expired(const struct ct_entry *entry, __u32 now)
{
	return entry->lifetime < now;
}

static __always_inline bool ct_closing(const struct ct_entry *entry)
{
	return entry->flags & (CT_RX_CLOSING | CT_TX_CLOSING);
}

static __always_inline __u32 ct_lifetime(const struct packet *p, __u16 flags)
{
	if (p->tuple.nexthdr != IPPROTO_TCP)
		return config_ct_any_timeout;
	if ((flags & (CT_RX_CLOSING | CT_TX_CLOSING)) == (CT_RX_CLOSING | CT_TX_CLOSING))
		return config_ct_close_timeout;
	return flags & CT_SEEN_NON_SYN ? config_ct_tcp_timeout : config_ct_syn_timeout;
}

static __always_inline bool is_pure_syn(const struct packet *p)
{
	return (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Whether the packet is of this connection. A SYN on what was one opens a new one, and that the other way round. */
static __always_inline bool ct_has(const struct ct_entry *entry, const struct packet *p)
{
	return entry && !ct_expired(entry, p->now) && !(ct_closing(entry) && is_pure_syn(p));
}

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

/*
 * Who opens a connection has nearly always the higher port: which of the two keys is asked for first. An answer is still
 * never taken for a packet of a connection of one's own: of the two entries at most one lives and is not closing, since each
 * is made only when the other is none of that.
 */
static __always_inline bool looks_like_opener(const struct packet *p)
{
	return has_ports(p->tuple.nexthdr) && bpf_ntohs(p->tuple.sport) > bpf_ntohs(p->tuple.dport);
}

static __always_inline int ct_is(struct packet *p, struct ct_entry *entry, enum ct_status status)
{
	p->entry = entry;
	p->ct = status;
	return 0;
}

/*
 * FIN closes its own direction; so does RST, but one that comes before both sides have sent SYN ends everything. A
 * connection that is closed on both sides is forgotten soon and no packet prolongs it.
 */
static __always_inline void ct_update_tcp(struct packet *p, struct ct_entry *entry, bool reply)
{
	__u8 *seen = reply ? &entry->rx_flags_seen : &entry->tx_flags_seen;
	__u16 flags = entry->flags;

	if (!(p->tcp_flags & TCP_SYN))
		flags |= CT_SEEN_NON_SYN;
	if (unlikely(p->tcp_flags & (TCP_FIN | TCP_RST))) {
		if (p->tcp_flags & TCP_RST && !(entry->tx_flags_seen & entry->rx_flags_seen & TCP_SYN))
			flags |= CT_RX_CLOSING | CT_TX_CLOSING;
		else
			flags |= reply ? CT_RX_CLOSING : CT_TX_CLOSING;
		if (p->tcp_flags & (TCP_FIN | TCP_RST) & ~*seen)
			p->monitor = 1;
	}
	if (flags != entry->flags)
		entry->flags = flags;
	if (p->tcp_flags & ~*seen)
		*seen |= p->tcp_flags;
}

/* Counts the packet on its connection, if it has one: only when it is known that nobody has forged it. */
static __always_inline void ct_count(struct __sk_buff *skb, struct packet *p)
{
	struct ct_entry *entry = p->entry;
	__u32 lifetime;
	bool closed;

	if (!entry)
		return;
	closed = (entry->flags & (CT_RX_CLOSING | CT_TX_CLOSING)) == (CT_RX_CLOSING | CT_TX_CLOSING);
	if (p->tuple.nexthdr == IPPROTO_TCP && !(p->flags & PACKET_LATER_FRAGMENT))
		ct_update_tcp(p, entry, p->ct == CT_REPLY);
	lifetime = p->now + ct_lifetime(p, entry->flags);
	/* Written only when it changes, so that a busy flow does not bounce the cache line. */
	if (!closed && entry->lifetime != lifetime)
		entry->lifetime = lifetime;
	__sync_fetch_and_add(&entry->packets, 1);
	__sync_fetch_and_add(&entry->bytes, skb->len);
}

/*
 * Judged: under which epoch of all that verdicts depend on an entry's packets were allowed, and with whom. The agent closes the epoch
 * (its highest bit) before it changes anything of that and raises it afterwards, so that all entries are judged again (docs/adr/0005). One
 * word, so that both are always of one judgement.
 */
#define PEER_REMOTE (1u << 26) /* above the identity: the peer is no endpoint of this node and not this node */
#define PEER_BITS 27
_Static_assert(PEER_REMOTE == 1u << (PEER_BITS - 1), "the peer's bits are the lower ones");

static __always_inline __u64 policy_epoch(void)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&cilium_policy_epoch, &zero);
	__u64 epoch = value ? *(volatile __u64 *)value : 0;

	return epoch & ((__s64)~epoch >> 63); /* 0 when it is closed, and not one branch more for the verifier */
}

/* What is written into the entry; 0: nothing is remembered. An ICMP message's type is judged and is not part of its key. */
static __always_inline __u64 ct_judgement(const struct packet *p, __u32 peer)
{
	if (!p->epoch || !has_ports(p->tuple.nexthdr) || peer >> PEER_BITS)
		return 0;
	return p->epoch << PEER_BITS | peer;
}

static __always_inline __u64 ct_judged(const struct packet *p)
{
	return p->entry ? *(volatile __u64 *)&p->entry->judged : 0;
}

/* Whether an entry's packets with this peer were allowed under the present epoch. */
static __always_inline bool ct_is_judged(const struct packet *p, __u32 peer)
{
	__u64 judgement = ct_judgement(p, peer);

	return judgement && ct_judged(p) == judgement;
}

static __always_inline void ct_judge(struct packet *p, __u32 peer)
{
	__u64 judgement = ct_judgement(p, peer);

	if (p->entry && judgement)
		p->entry->judged = judgement;
}

/* Whether the entry was judged in this epoch and its peer is beyond this node: then nobody has to be asked who that is. */
static __always_inline bool ct_knows_remote(const struct packet *p, __u32 *identity)
{
	__u64 judged = ct_judged(p);

	*identity = judged & (PEER_REMOTE - 1);
	return judged & PEER_REMOTE && judged >> PEER_BITS == p->epoch;
}

/* A connection's entry after its first packet. `entry` is zero. */
static __always_inline void ct_begin(const struct __sk_buff *skb, const struct packet *p, __u32 peer, struct ct_entry *entry)
{
	entry->judged = ct_judgement(p, peer);
	entry->packets = 1;
	entry->bytes = skb->len;
	entry->src_sec_id = p->src_id;
	entry->tx_flags_seen = p->tcp_flags;
	if (p->tuple.nexthdr == IPPROTO_TCP && !(p->tcp_flags & TCP_SYN))
		entry->flags = CT_SEEN_NON_SYN;
	if (p->tcp_flags & TCP_RST)
		entry->flags |= CT_RX_CLOSING | CT_TX_CLOSING;
	entry->lifetime = p->now + ct_lifetime(p, entry->flags);
}
