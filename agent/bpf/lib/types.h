/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's BPF interface, and the few wire formats and constants that its headers cannot give a BPF target. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define bool _Bool
#define true 1
#define false 0

#define TC_ACT_OK 0
#define TC_ACT_SHOT 2
#define TC_ACT_REDIRECT 7

#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_ARP 0x0806
#define ETH_P_IPV6 0x86dd

#define AF_INET 2
#define AF_INET6 10

#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132

#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP_ECHOREPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_FRAG_NEEDED 4 /* code of ICMP_DEST_UNREACH */

/* IPv6 extension headers. */
#define NEXTHDR_HOP 0
#define NEXTHDR_ROUTING 43
#define NEXTHDR_FRAGMENT 44
#define NEXTHDR_AUTH 51
#define NEXTHDR_NONE 59
#define NEXTHDR_DEST 60

#define IP6_MF 0x0001
#define IP6_OFFSET 0xfff8

#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMETER_PROBLEM 4 /* the errors are 1 to 4 */
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
#define ICMPV6_MLD_REPORT 131
#define ICMPV6_MLD_DONE 132
#define ICMPV6_ROUTER_SOLICITATION 133
#define ICMPV6_NEIGHBOUR_SOLICITATION 135
#define ICMPV6_NEIGHBOUR_ADVERTISEMENT 136
#define ICMPV6_REDIRECT 137 /* neighbour discovery is 133 to 137 */
#define ICMPV6_MLD2_REPORT 143

#define ARPHRD_ETHER 1
#define ARPOP_REQUEST 1
#define ARPOP_REPLY 2

/* skb->pkt_type, as the kernel numbers it. */
#define PACKET_HOST 0

struct eth_header {
	__u8 dst[6];
	__u8 src[6];
	__be16 proto;
} __attribute__((packed));

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__be32 saddr;
	__be32 daddr;
};

/* Aligned as it is in Cilium's keys, which have no room to spare. */
typedef __be32 ipv6_word __attribute__((aligned(2)));

struct ipv6_address {
	ipv6_word word[4];
};

struct ipv6_header {
	__be32 version_flow;
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	struct ipv6_address saddr;
	struct ipv6_address daddr;
};

struct arp_header {
	__be16 htype;
	__be16 ptype;
	__u8 hlen;
	__u8 plen;
	__be16 op;
	__u8 sha[6];
	__be32 spa;
	__u8 tha[6];
	__be32 tpa;
} __attribute__((packed));

#define IPV4_OFF(member) (ETH_HLEN + __builtin_offsetof(struct ipv4_header, member))
#define IPV4_MIN_LEN 20

#define IPV6_OFF(member) (ETH_HLEN + __builtin_offsetof(struct ipv6_header, member))
#define IPV6_LEN 40

/* Offsets inside the L4 header. */
#define TCP_CSUM_OFF 16
#define TCP_DATA_OFF 12
#define TCP_FLAGS_OFF 13
#define UDP_HLEN 8
#define UDP_CSUM_OFF 6
#define ICMP_CSUM_OFF 2
#define ICMP_ID_OFF 4
#define ICMP_HLEN 8

/* Reserved identities. */
#define HOST_ID 1
#define WORLD_ID 2
#define REMOTE_NODE_ID 6
#define KUBE_APISERVER_ID 7
#define WORLD_IPV4_ID 9 /* with two address families there are two worlds, which travel as one */
#define WORLD_IPV6_ID 10

#define MAX_WIRE_ID 0xffffff /* an identity in a VNI has 24 bits */

/* skb->mark: Cilium's magic numbers in bits 0x0F00. */
#define MARK_MAGIC_MASK 0x0F00
#define MARK_MAGIC_SNAT_DONE 0x0300
#define MARK_MAGIC_OVERLAY 0x0400
#define MARK_MAGIC_PROXY_INGRESS 0x0A00
#define MARK_MAGIC_PROXY_EGRESS 0x0B00

#define unlikely(x) __builtin_expect(!!(x), 0)
#define likely(x) __builtin_expect(!!(x), 1)

/* The compiler must not merge what is on both sides of it. */
#define barrier() asm volatile("" ::: "memory")

/* A header may have more than one program needs. */
#define __maybe_unused __attribute__((unused))

/* Keeps a struct that no map and no function names in the object's BTF, for tools/layout. No loader looks there. */
#define TWIN(tag) struct tag *twin_##tag __maybe_unused SEC("twins")
