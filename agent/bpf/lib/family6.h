/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* As family4.h, for IPv6. */

#include "family_end.h"

#define FAMILY 6
#define FN(name) name##6
/* Keys of 38 bytes: only functions of their own leave room for each other on the stack. */
#define FAMILY_CALL __noinline __maybe_unused

#define tuple_t ipv6_ct_tuple_aligned
#define address_t const struct ipv6_address *
#define header_t struct ipv6_header
#define inner_t struct inner_packet6
#define nat_entry_t struct ipv6_nat_entry
#define rewrite_t struct rewrite6
#define ipmasq_key_t struct ipmasq6_key
#define STACK_TUPLE(name) tuple_t name = {}

#define PARSE_INTO(tuple) \
	struct fragment6 fragment = {}; \
	tuple_t parsed = {}, *tuple = &parsed
#define PARSE_HEADER(tuple) parse_ipv6(skb, p, tuple, &fragment)
#define PARSE_L4(tuple) parse_l4_6(skb, p, tuple, &fragment)

#define ADDRESS(addr) (&(addr))
#define VALUE(addr) (*(addr))
#define SAME_ADDRESS(a, b) same_ipv6(&(a), &(b))
#define IS_NO_ADDRESS(addr) is_unspecified(addr)
#define COPY_ADDRESS(to, from) copy_ipv6(&(to), &(from))
#define COPY_TUPLE(to, from) copy_tuple6(&(to), &(from))
#define HEADER_OFF(member) IPV6_OFF(member)

#define PROTO_ICMP IPPROTO_ICMPV6
#define ECHO_REQUEST ICMPV6_ECHO_REQUEST
#define ECHO_REPLY ICMPV6_ECHO_REPLY

#define CT_TCP_MAP cilium_ct6_global
#define CT_ANY_MAP cilium_ct_any6_global
#define SNAT_MAP cilium_snat_v6_external
#define SNAT_RETRIES_MAP cilium_snat_v6_alloc_retries
#define IPMASQ_MAP cilium_ipmasq_v6
#define ANNOUNCED_MAP cilium_announced_v6
