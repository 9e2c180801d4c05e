/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The IPv6 parser: header, extension headers, ports, ICMPv6, fragments. What policies and events ask for (protocol,
 * ports, ICMP type) goes into `struct packet` as for IPv4; the addresses are in the tuple beside it.
 */
#pragma once

#include "maps6.h"
#include "packet.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_IPV6

#define EXTENSION_HEADERS_MAX 4
#define MULTICAST_PREFIX 0xff

static __always_inline void copy_ipv6(struct ipv6_address *to, const struct ipv6_address *from)
{
	((__u64 *)to)[0] = ((const __u64 *)from)[0];
	((__u64 *)to)[1] = ((const __u64 *)from)[1];
}

static __always_inline bool same_ipv6(const struct ipv6_address *a, const struct ipv6_address *b)
{
	return ((const __u64 *)a)[0] == ((const __u64 *)b)[0] && ((const __u64 *)a)[1] == ((const __u64 *)b)[1];
}

static __always_inline bool is_unspecified(const struct ipv6_address *addr)
{
	return !(((const __u64 *)addr)[0] | ((const __u64 *)addr)[1]);
}

static __always_inline bool is_multicast6(const struct ipv6_address *addr)
{
	return *(const __u8 *)addr == MULTICAST_PREFIX;
}

static __always_inline bool is_link_local6(const struct ipv6_address *addr)
{
	return (addr->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool is_loopback6(const struct ipv6_address *addr)
{
	return !(addr->word[0] | addr->word[1] | addr->word[2]) && addr->word[3] == bpf_htonl(1);
}

/* Nobody sends from these beyond a link. */
static __always_inline bool is_no_source6(const struct ipv6_address *addr)
{
	return is_multicast6(addr) || is_link_local6(addr) || is_unspecified(addr) || is_loopback6(addr);
}

static __always_inline void copy_tuple6(struct ipv6_ct_tuple *to, const struct ipv6_ct_tuple *from)
{
	copy_ipv6(&to->daddr, &from->daddr);
	copy_ipv6(&to->saddr, &from->saddr);
	to->dport = from->dport;
	to->sport = from->sport;
	to->nexthdr = from->nexthdr;
	to->flags = from->flags;
}

/* Makes sure that Ethernet and IPv6 header can be read and written in place; null when the packet is too short. */
static __always_inline struct ipv6_header *header_of6(struct __sk_buff *skb)
{
	void *data = packet_data(skb);

	if (data + ETH_HLEN + IPV6_LEN > packet_end(skb)) {
		if (bpf_skb_pull_data(skb, ETH_HLEN + IPV6_LEN))
			return NULL;
		data = packet_data(skb);
		if (data + ETH_HLEN + IPV6_LEN > packet_end(skb))
			return NULL;
	}
	return data + ETH_HLEN;
}

struct fragment6 {
	__be32 id;
	__be16 off;  /* as in the header */
	__u8 proto;  /* as in the header: part of what names the datagram */
	__u8 seen;
};

/* Of an extension header: how long it is, and what comes after it. */
struct extension6 {
	__u8 nexthdr;
	__u8 len;
};

/* A datagram's later parts do not say what follows an extension header in the first one: such a datagram cannot be judged. */
static __always_inline int fragment_header(struct __sk_buff *skb, struct packet *p, __u32 off, struct fragment6 *fragment)
{
	struct {
		__u8 nexthdr;
		__u8 reserved;
		__be16 off;
		__be32 id;
	} header;

	if (fragment->seen || bpf_skb_load_bytes(skb, off, &header, sizeof(header)) < 0)
		return DROP(p, DROP_INVALID_EXTHDR);
	switch (header.nexthdr) {
	case NEXTHDR_HOP:
	case NEXTHDR_ROUTING:
	case NEXTHDR_FRAGMENT:
	case NEXTHDR_AUTH:
	case NEXTHDR_DEST:
	case NEXTHDR_NONE:
		return DROP(p, DROP_INVALID_EXTHDR);
	}
	fragment->seen = 1;
	fragment->proto = header.nexthdr;
	fragment->off = header.off & bpf_htons(IP6_OFFSET | IP6_MF);
	fragment->id = header.id;
	return header.nexthdr;
}

/* A packet that still has to visit somebody is not for the destination that policies would judge; type 0 is dead (RFC 5095). */
static __always_inline bool may_route(struct __sk_buff *skb, __u32 off)
{
	__u8 header[4];

	return bpf_skb_load_bytes(skb, off, header, sizeof(header)) == 0 && header[2] != 0 && header[3] == 0;
}

/* What comes after the header of type `nexthdr` at p->l4_off, which moves on; or a drop. */
static __always_inline int skip_extension(struct __sk_buff *skb, struct packet *p, __u8 nexthdr, struct fragment6 *fragment)
{
	struct extension6 header;
	int next;

	if (nexthdr == NEXTHDR_FRAGMENT) {
		next = fragment_header(skb, p, p->l4_off, fragment);
		p->l4_off += 8;
		return next;
	}
	if (nexthdr == NEXTHDR_HOP && p->l4_off != ETH_HLEN + IPV6_LEN)
		return DROP(p, DROP_INVALID_EXTHDR);
	if (bpf_skb_load_bytes(skb, p->l4_off, &header, sizeof(header)) < 0)
		return DROP(p, DROP_INVALID_EXTHDR);
	if (nexthdr == NEXTHDR_ROUTING && !may_route(skb, p->l4_off))
		return DROP(p, DROP_INVALID_EXTHDR);
	p->l4_off += nexthdr == NEXTHDR_AUTH ? (header.len + 2) * 4 : (header.len + 1) * 8;
	return header.nexthdr;
}

static __always_inline bool is_extension(__u8 nexthdr)
{
	return nexthdr == NEXTHDR_HOP || nexthdr == NEXTHDR_ROUTING || nexthdr == NEXTHDR_FRAGMENT || nexthdr == NEXTHDR_AUTH ||
	       nexthdr == NEXTHDR_DEST;
}

/* Walks the extension headers: what is behind them goes into p->tuple.nexthdr and p->l4_off. */
static __noinline __maybe_unused int parse_extensions(struct __sk_buff *skb, struct packet *p, struct fragment6 *fragment)
{
	int nexthdr = p->tuple.nexthdr;

	for (int i = 0; i < EXTENSION_HEADERS_MAX && is_extension(nexthdr); i++) {
		/* Behind the header of a later fragment there is data. */
		nexthdr = skip_extension(skb, p, nexthdr, fragment);
		if (nexthdr < 0)
			return nexthdr;
	}
	if (is_extension(nexthdr) || nexthdr == NEXTHDR_NONE)
		return DROP(p, DROP_INVALID_EXTHDR);
	p->tuple.nexthdr = nexthdr;
	return 0;
}

/* Header and extension headers. After it the addresses and the protocol are known. */
static __always_inline int parse_ipv6(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple,
				      struct fragment6 *fragment)
{
	struct ipv6_header *ip = header_of6(skb);
	__u16 payload;
	int ret;

	p->flags |= PACKET_IPV6;
	if (!ip)
		return DROP(p, DROP_INVALID);
	payload = bpf_ntohs(ip->payload_len);
	/* A BIG TCP packet says 0: it is longer than the field can say. */
	if ((*(__u8 *)ip >> 4) != 6 || (payload ? ETH_HLEN + IPV6_LEN + (__u32)payload > skb->len : skb->len <= 0xffff))
		return DROP(p, DROP_INVALID);
	copy_ipv6(&tuple->daddr, &ip->daddr);
	copy_ipv6(&tuple->saddr, &ip->saddr);
	p->ttl = ip->hop_limit;
	p->tuple.nexthdr = ip->nexthdr;
	p->l4_off = ETH_HLEN + IPV6_LEN;
	if (unlikely(is_extension(ip->nexthdr) || ip->nexthdr == NEXTHDR_NONE)) {
		ret = parse_extensions(skb, p, fragment);
		if (ret < 0)
			return ret;
	}
	tuple->nexthdr = p->tuple.nexthdr;
	return 0;
}

/* As for ICMP: an echo's identifier is where the initiator or responder would have its port. */
static __always_inline void icmp6_ports(__u8 type, __be16 id, __be16 *sport, __be16 *dport)
{
	*sport = type == ICMPV6_ECHO_REPLY ? id : 0;
	*dport = type == ICMPV6_ECHO_REQUEST ? id : 0;
}

static __always_inline int parse_icmp6(struct __sk_buff *skb, struct packet *p)
{
	__u8 head[ICMP_HLEN];

	/* Nothing shorter is sent by anybody: the smallest message has eight bytes. */
	if (bpf_skb_load_bytes(skb, p->l4_off, head, sizeof(head)) < 0)
		return DROP(p, DROP_CT_INVALID_HDR);
	p->icmp_type = head[0];
	p->icmp_code = head[1];
	icmp6_ports(head[0], *(__be16 *)(head + ICMP_ID_OFF), &p->tuple.sport, &p->tuple.dport);
	if (head[0] >= ICMPV6_DEST_UNREACH && head[0] <= ICMPV6_PARAMETER_PROBLEM) {
		if (p->flags & PACKET_FRAGMENT)
			return DROP(p, DROP_INVALID);
		p->flags |= PACKET_ICMP_ERROR;
	}
	return 0;
}

static __always_inline int parse_l4_header6(struct __sk_buff *skb, struct packet *p)
{
	switch (p->tuple.nexthdr) {
	case IPPROTO_ICMPV6:
		return parse_icmp6(skb, p);
	case IPPROTO_ICMP:
		return 0; /* a number like any other here: what IPv4's errors may do it may not */
	default:
		return parse_l4_header(skb, p);
	}
}

/* The first fragment leaves its ports behind, the others pick them up. */
static __noinline __maybe_unused int parse_fragment6(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple,
						     struct fragment6 *fragment)
{
	struct ipv6_frag_id id = {.id = fragment->id, .proto = fragment->proto};
	struct ipv6_frag_l4ports ports = {}, *known;
	int ret;

	copy_ipv6(&id.daddr, &tuple->daddr);
	copy_ipv6(&id.saddr, &tuple->saddr);
	p->flags |= PACKET_FRAGMENT;
	if (!(fragment->off & bpf_htons(IP6_OFFSET))) {
		ret = parse_l4_header6(skb, p);
		if (ret < 0)
			return ret;
		ports.sport = p->tuple.sport;
		ports.dport = p->tuple.dport;
		bpf_map_update_elem(&cilium_ipv6_frag_datagrams, &id, &ports, BPF_ANY);
		return 0;
	}
	p->flags |= PACKET_LATER_FRAGMENT;
	known = bpf_map_lookup_elem(&cilium_ipv6_frag_datagrams, &id);
	if (!known)
		return DROP(p, DROP_FRAG_NOT_FOUND);
	p->tuple.sport = known->sport;
	p->tuple.dport = known->dport;
	/* Only echoes are let through in pieces, and their identifier says which way. */
	if (p->tuple.nexthdr == IPPROTO_ICMPV6)
		p->icmp_type = known->sport ? ICMPV6_ECHO_REPLY : ICMPV6_ECHO_REQUEST;
	return 0;
}

/* After parse_ipv6. A datagram of one fragment is none (RFC 6946). */
static __always_inline int parse_l4_6(struct __sk_buff *skb, struct packet *p, struct ipv6_ct_tuple *tuple, struct fragment6 *fragment)
{
	int ret;

	p->now = now_seconds();
	if (unlikely(fragment->off))
		ret = parse_fragment6(skb, p, tuple, fragment);
	else
		ret = parse_l4_header6(skb, p);
	tuple->sport = p->tuple.sport;
	tuple->dport = p->tuple.dport;
	return ret;
}

/* The header inside an ICMPv6 error: the packet that could not be delivered, as it was sent. */
struct inner_packet6 {
	ipv6_ct_tuple_aligned tuple;
	__u16 l3_off;
	__u16 l4_off;
};

/* Quotes behind extension headers are of no flow that anybody could tell. */
static __noinline __maybe_unused int parse_inner6(struct __sk_buff *skb, struct packet *p, struct inner_packet6 *inner)
{
	struct ipv6_header ip __attribute__((aligned(8)));
	__be16 sport = 0, dport = 0;
	__u8 l4[8];

	inner->l3_off = p->l4_off + ICMP_HLEN;
	inner->l4_off = inner->l3_off + IPV6_LEN;
	if (bpf_skb_load_bytes(skb, inner->l3_off, &ip, sizeof(ip)) < 0)
		return DROP(p, DROP_CT_INVALID_HDR);
	if ((*(__u8 *)&ip >> 4) != 6)
		return DROP(p, DROP_INVALID);
	copy_ipv6(&inner->tuple.daddr, &ip.daddr);
	copy_ipv6(&inner->tuple.saddr, &ip.saddr);
	inner->tuple.nexthdr = ip.nexthdr;
	inner->tuple.flags = 0;
	switch (ip.nexthdr) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_ICMPV6:
		if (bpf_skb_load_bytes(skb, inner->l4_off, l4, sizeof(l4)) < 0)
			return DROP(p, DROP_CT_INVALID_HDR);
		if (ip.nexthdr == IPPROTO_ICMPV6) {
			icmp6_ports(l4[0], *(__be16 *)(l4 + ICMP_ID_OFF), &sport, &dport);
		} else {
			sport = *(__be16 *)l4;
			dport = *(__be16 *)(l4 + 2);
		}
	}
	inner->tuple.sport = sport;
	inner->tuple.dport = dport;
	return 0;
}
