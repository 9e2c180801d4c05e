/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of the packet at hand, and the parser that fills it: IPv4 header, ports, ICMP, fragments. */
#pragma once

#include "actions.h"
#include "drop.h"
#include "maps.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_PACKET

#define PACKET_ICMP_ERROR 1	/* carries the header of the packet it is about */
#define PACKET_LATER_FRAGMENT 2 /* no L4 header; the ports are those of the first fragment */
#define PACKET_FRAGMENT 4
#define PACKET_IPV6 8 /* the addresses are not in `struct packet` */

struct packet {
	struct ct_entry *entry; /* of its connection, if it has one */
	__u64 epoch; /* of what its verdict comes from; 0: it is not remembered */
	ipv4_ct_tuple_aligned tuple; /* as in the packet; ICMP: id of a request in dport, of a reply in sport */
	__u16 endpoint_id;
	__u32 src_id;
	__u32 dst_id;
	__u32 dst_endpoint;
	__u32 cookie; /* of the policy entry that decided */
	__u32 now;    /* seconds, read once: the clock costs as much as a map lookup */
	__u16 l4_off;
	__be16 ip_id;
	__be16 frag_off;
	__u16 line;
	__u8 file;
	__u8 dir; /* METRIC_INGRESS or METRIC_EGRESS */
	__u8 flags;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 ttl;
	__u8 monitor; /* worth a trace at aggregation level medium */
	__u8 ct;      /* enum ct_status */
	__u8 l4_len;  /* of a TCP or UDP header */
	__u8 pad[2];
};

/*
 * The kernel turns these 32-bit loads into whole pointers. The compiler must not know that they are 32 bits wide: it
 * would cut a pointer it reuses to its lower half, which no verifier notices.
 */
#define DEFINE_PACKET_POINTER(name, member) \
	static __always_inline void *name(const struct __sk_buff *skb) \
	{ \
		void *pointer; \
\
		asm volatile("%[pointer] = *(u32 *)(%[skb] + %[offset])" \
			     : [pointer] "=r"(pointer) \
			     : [skb] "r"(skb), [offset] "i"(__builtin_offsetof(struct __sk_buff, member))); \
		return pointer; \
	}

DEFINE_PACKET_POINTER(packet_data, data)
DEFINE_PACKET_POINTER(packet_end, data_end)

static __always_inline void copy_mac(__u8 *to, const __u8 *from)
{
	*(__u32 *)to = *(const __u32 *)from;
	*(__u16 *)(to + 4) = *(const __u16 *)(from + 4);
}

static __always_inline bool same_mac(const __u8 *a, const __u8 *b)
{
	return *(const __u32 *)a == *(const __u32 *)b && *(const __u16 *)(a + 4) == *(const __u16 *)(b + 4);
}

/* Makes sure that Ethernet and IPv4 header can be read and written in place; null when the packet is too short. */
static __always_inline struct ipv4_header *header_of4(struct __sk_buff *skb)
{
	void *data = packet_data(skb);

	if (data + ETH_HLEN + IPV4_MIN_LEN > packet_end(skb)) {
		if (bpf_skb_pull_data(skb, ETH_HLEN + IPV4_MIN_LEN))
			return NULL;
		data = packet_data(skb);
		if (data + ETH_HLEN + IPV4_MIN_LEN > packet_end(skb))
			return NULL;
	}
	return data + ETH_HLEN;
}

static __always_inline struct eth_header *eth_of(void *ip)
{
	return (void *)ip - ETH_HLEN;
}

static __always_inline int parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct ipv4_header *ip = header_of4(skb);
	__u16 header_len, total;

	if (!ip)
		return DROP(p, DROP_INVALID);
	header_len = (ip->version_ihl & 0xf) * 4;
	total = bpf_ntohs(ip->tot_len);
	if ((ip->version_ihl >> 4) != 4 || header_len < IPV4_MIN_LEN)
		return DROP(p, DROP_INVALID);
	/* A BIG TCP packet says 0: it is longer than the field can say. */
	if (total ? (total < header_len || ETH_HLEN + (__u32)total > skb->len) : skb->len <= 0xffff)
		return DROP(p, DROP_INVALID);
	p->tuple.daddr = ip->daddr;
	p->tuple.saddr = ip->saddr;
	p->tuple.nexthdr = ip->protocol;
	p->l4_off = ETH_HLEN + header_len;
	p->ttl = ip->ttl;
	p->ip_id = ip->id;
	p->frag_off = ip->frag_off;
	return 0;
}

/* An echo carries its identifier where the connection's initiator or responder would have its port. */
static __always_inline void icmp_ports(__u8 type, __be16 id, struct ipv4_ct_tuple *tuple)
{
	tuple->sport = type == ICMP_ECHOREPLY ? id : 0;
	tuple->dport = type == ICMP_ECHO ? id : 0;
}

static __always_inline int parse_icmp(struct __sk_buff *skb, struct packet *p)
{
	__u8 head[ICMP_HLEN];

	if (bpf_skb_load_bytes(skb, p->l4_off, head, sizeof(head)) < 0)
		return DROP(p, DROP_CT_INVALID_HDR);
	p->icmp_type = head[0];
	p->icmp_code = head[1];
	icmp_ports(head[0], *(__be16 *)(head + ICMP_ID_OFF), &p->tuple);
	if (head[0] == ICMP_DEST_UNREACH || head[0] == ICMP_TIME_EXCEEDED || head[0] == ICMP_PARAMETER_PROBLEM) {
		if (p->flags & PACKET_FRAGMENT)
			return DROP(p, DROP_INVALID);
		p->flags |= PACKET_ICMP_ERROR;
	}
	return 0;
}

#define L4_OFF_MASK 0x7f /* more than the longest IPv4 header: for the verifier */

static __always_inline int parse_tcp(struct __sk_buff *skb, struct packet *p)
{
	const __u8 *head = packet_data(skb) + (p->l4_off & L4_OFF_MASK);
	__u8 copy[TCP_FLAGS_OFF + 1];

	/* In place where it can be read there, which is nearly always. */
	if ((void *)head + sizeof(copy) > packet_end(skb)) {
		if (bpf_skb_load_bytes(skb, p->l4_off, copy, sizeof(copy)) < 0)
			return DROP(p, DROP_CT_INVALID_HDR);
		head = copy;
	}
	p->tuple.sport = *(__be16 *)head;
	p->tuple.dport = *(__be16 *)(head + 2);
	p->tcp_flags = head[TCP_FLAGS_OFF];
	p->l4_len = (head[TCP_DATA_OFF] >> 4) * 4;
	return 0;
}

static __always_inline int parse_ports(struct __sk_buff *skb, struct packet *p)
{
	__be16 ports[2];

	if (bpf_skb_load_bytes(skb, p->l4_off, ports, sizeof(ports)) < 0)
		return DROP(p, DROP_CT_INVALID_HDR);
	p->tuple.sport = ports[0];
	p->tuple.dport = ports[1];
	p->l4_len = UDP_HLEN;
	return 0;
}

static __always_inline int parse_l4_header(struct __sk_buff *skb, struct packet *p)
{
	switch (p->tuple.nexthdr) {
	case IPPROTO_TCP:
		return parse_tcp(skb, p);
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		return parse_ports(skb, p);
	case IPPROTO_ICMP:
		return parse_icmp(skb, p);
	default:
		return 0; /* no ports: one flow per pair of addresses and protocol */
	}
}

/* The first fragment leaves its ports behind, the others pick them up. */
static __noinline __maybe_unused int parse_fragment(struct __sk_buff *skb, struct packet *p)
{
	struct ipv4_frag_id id = {
		.daddr = p->tuple.daddr,
		.saddr = p->tuple.saddr,
		.id = p->ip_id,
		.proto = p->tuple.nexthdr,
	};
	struct ipv4_frag_l4ports ports = {}, *known;
	int ret;

	p->flags |= PACKET_FRAGMENT;
	if (!(p->frag_off & bpf_htons(IP_OFFSET))) {
		ret = parse_l4_header(skb, p);
		if (ret < 0)
			return ret;
		ports.sport = p->tuple.sport;
		ports.dport = p->tuple.dport;
		bpf_map_update_elem(&cilium_ipv4_frag_datagrams, &id, &ports, BPF_ANY);
		return 0;
	}
	p->flags |= PACKET_LATER_FRAGMENT;
	known = bpf_map_lookup_elem(&cilium_ipv4_frag_datagrams, &id);
	if (!known)
		return DROP(p, DROP_FRAG_NOT_FOUND);
	p->tuple.sport = known->sport;
	p->tuple.dport = known->dport;
	/* Only echoes are let through in pieces, and their identifier says which way. */
	if (p->tuple.nexthdr == IPPROTO_ICMP)
		p->icmp_type = known->sport ? ICMP_ECHOREPLY : ICMP_ECHO;
	return 0;
}

/* After parse_ipv4. */
static __always_inline int parse_l4(struct __sk_buff *skb, struct packet *p)
{
	p->now = now_seconds();
	if (unlikely(p->frag_off & bpf_htons(IP_MF | IP_OFFSET)))
		return parse_fragment(skb, p);
	return parse_l4_header(skb, p);
}

/* The header inside an ICMP error: the packet that could not be delivered, as it was sent. */
struct inner_packet {
	ipv4_ct_tuple_aligned tuple;
	__u16 l3_off;
	__u16 l4_off;
};

static __noinline __maybe_unused int parse_inner4(struct __sk_buff *skb, struct packet *p, struct inner_packet *inner)
{
	struct ipv4_header ip;
	__u8 l4[8];

	inner->l3_off = p->l4_off + ICMP_HLEN;
	if (bpf_skb_load_bytes(skb, inner->l3_off, &ip, sizeof(ip)) < 0)
		return DROP(p, DROP_CT_INVALID_HDR);
	if ((ip.version_ihl >> 4) != 4 || (ip.version_ihl & 0xf) < 5)
		return DROP(p, DROP_INVALID);
	inner->l4_off = inner->l3_off + (ip.version_ihl & 0xf) * 4;
	inner->tuple.daddr = ip.daddr;
	inner->tuple.saddr = ip.saddr;
	inner->tuple.nexthdr = ip.protocol;
	inner->tuple.flags = 0;
	inner->tuple.sport = 0;
	inner->tuple.dport = 0;
	switch (ip.protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
	case IPPROTO_ICMP:
		if (bpf_skb_load_bytes(skb, inner->l4_off, l4, sizeof(l4)) < 0)
			return DROP(p, DROP_CT_INVALID_HDR);
		if (ip.protocol == IPPROTO_ICMP) {
			icmp_ports(l4[0], *(__be16 *)(l4 + ICMP_ID_OFF), &inner->tuple);
		} else {
			inner->tuple.sport = *(__be16 *)l4;
			inner->tuple.dport = *(__be16 *)(l4 + 2);
		}
	}
	return 0;
}
