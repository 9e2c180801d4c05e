/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Before another family: what family4.h and family6.h define. */

#undef FAMILY
#undef FN
#undef FAMILY_CALL
#undef tuple_t
#undef address_t
#undef header_t
#undef inner_t
#undef nat_entry_t
#undef rewrite_t
#undef ipmasq_key_t
#undef STACK_TUPLE
#undef PARSE_INTO
#undef PARSE_HEADER
#undef PARSE_L4
#undef ADDRESS
#undef VALUE
#undef SAME_ADDRESS
#undef IS_NO_ADDRESS
#undef COPY_ADDRESS
#undef COPY_TUPLE
#undef HEADER_OFF
#undef PROTO_ICMP
#undef ECHO_REQUEST
#undef ECHO_REPLY
#undef CT_TCP_MAP
#undef CT_ANY_MAP
#undef SNAT_MAP
#undef SNAT_RETRIES_MAP
#undef IPMASQ_MAP
#undef ANNOUNCED_MAP
