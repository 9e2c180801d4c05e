/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the code that both families share (`*_family.h`) calls by one name. That code is included once per family, after this
 * file or family6.h: what it does is written once, and each family's programs are as small as if it were written for it.
 */

#include "family_end.h"

#define FAMILY 4
#define FN(name) name##4
/* Of what runs for each packet: one program body. */
#define FAMILY_CALL __always_inline

#define tuple_t ipv4_ct_tuple_aligned
#define address_t __be32
#define header_t struct ipv4_header
#define inner_t struct inner_packet
#define nat_entry_t struct ipv4_nat_entry
#define rewrite_t struct rewrite4
#define ipmasq_key_t struct ipmasq_key
#define STACK_TUPLE(name) tuple_t name = {}

/* Declares where a packet's addresses and ports go; for PARSE_HEADER, then PARSE_L4. */
#define PARSE_INTO(tuple) tuple_t *tuple = &p->tuple
#define PARSE_HEADER(tuple) parse_ipv4(skb, p)
#define PARSE_L4(tuple) parse_l4(skb, p)

/* An address as an argument of type address_t, and what such an argument stands for. */
#define ADDRESS(addr) (addr)
#define VALUE(addr) (addr)
#define SAME_ADDRESS(a, b) ((a) == (b))
#define IS_NO_ADDRESS(addr) (!(addr))
#define COPY_ADDRESS(to, from) ((to) = (from))
#define COPY_TUPLE(to, from) ((to) = (from))
#define HEADER_OFF(member) IPV4_OFF(member)

#define PROTO_ICMP IPPROTO_ICMP
#define ECHO_REQUEST ICMP_ECHO
#define ECHO_REPLY ICMP_ECHOREPLY

#define CT_TCP_MAP cilium_ct4_global
#define CT_ANY_MAP cilium_ct_any4_global
#define SNAT_MAP cilium_snat_v4_external
#define SNAT_RETRIES_MAP cilium_snat_v4_alloc_retries
#define IPMASQ_MAP cilium_ipmasq_v4
#define ANNOUNCED_MAP cilium_announced_v4
