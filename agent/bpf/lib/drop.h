/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Drop reasons, once: Cilium's numbers, names and texts. The codes are an ABI (metrics, events, Hubble).
 * lib/domain/drop-reasons.ts holds the same table and a test compares the two.
 */
#pragma once

#define DROP_INVALID_SIP -132 /* Invalid source ip */
#define DROP_POLICY -133 /* Policy denied */
#define DROP_INVALID -134 /* Invalid packet */
#define DROP_CT_INVALID_HDR -135 /* CT: Truncated or invalid header */
#define DROP_FRAG_NEEDED -136 /* Fragmentation needed */
#define DROP_CT_UNKNOWN_PROTO -137 /* CT: Unknown L4 protocol */
#define DROP_UNKNOWN_L3 -139 /* Unsupported L3 protocol */
#define DROP_MISSED_TAIL_CALL -140 /* Missed tail call */
#define DROP_WRITE_ERROR -141 /* Error writing to packet */
#define DROP_UNKNOWN_L4 -142 /* Unknown L4 protocol */
#define DROP_NO_TUNNEL_KEY -147 /* Error retrieving tunnel key */
#define DROP_UNKNOWN_L3_TARGET -150 /* Unknown L3 target address */
#define DROP_UNROUTABLE -151 /* Stale or unroutable IP */
#define DROP_CSUM_L3 -153 /* Error while correcting L3 checksum */
#define DROP_CSUM_L4 -154 /* Error while correcting L4 checksum */
#define DROP_CT_CREATE_FAILED -155 /* CT: Map insertion failed */
#define DROP_INVALID_EXTHDR -156 /* Invalid IPv6 extension header */
#define DROP_FRAG_NOSUPPORT -157 /* IP fragmentation not supported */
#define DROP_NO_SERVICE -158 /* Service backend not found */
#define DROP_NO_TUNNEL_ENDPOINT -160 /* No tunnel/encapsulation endpoint (datapath BUG!) */
#define DROP_EDT_HORIZON -162 /* Reached EDT rate-limiting drop horizon */
#define DROP_UNKNOWN_CT -163 /* Unknown connection tracking state */
#define DROP_UNSUPPORTED_L2 -166 /* Unsupported L2 protocol */
#define DROP_NAT_NO_MAPPING -167 /* No mapping for NAT masquerade */
#define DROP_NAT_UNSUPP_PROTO -168 /* Unsupported protocol for NAT masquerade */
#define DROP_NO_FIB -169 /* FIB lookup failed */
#define DROP_ENCAP_PROHIBITED -170 /* Encapsulation traffic is prohibited */
#define DROP_INVALID_IDENTITY -171 /* Invalid identity */
#define DROP_UNKNOWN_SENDER -172 /* Unknown sender */
#define DROP_IS_CLUSTER_IP -174 /* Is a ClusterIP */
#define DROP_FRAG_NOT_FOUND -175 /* First logical datagram fragment not found */
#define DROP_FORBIDDEN_ICMP6 -176 /* Forbidden ICMPv6 message */
#define DROP_NOT_IN_SRC_RANGE -177 /* Denied by LB src range check */
#define DROP_PROXY_LOOKUP_FAILED -178 /* Socket lookup failed */
#define DROP_PROXY_SET_FAILED -179 /* Socket assign failed */
#define DROP_PROXY_UNKNOWN_PROTO -180 /* Proxy redirection not supported for protocol */
#define DROP_POLICY_DENY -181 /* Policy denied by denylist */
#define DROP_INVALID_TC_BUFFER -184 /* Failed to update or lookup TC buffer */
#define DROP_POLICY_AUTH_REQUIRED -189 /* Authentication required */
#define DROP_TTL_EXCEEDED -196 /* TTL exceeded */
#define DROP_HOST_NOT_READY -202 /* Host datapath not ready */
#define DROP_EP_NOT_READY -203 /* Endpoint policy program not available */

/*
 * Where in the source a packet was dropped: every file that drops sets SOURCE_FILE to its number before its first
 * function. The numbers are an ABI of events and metrics as well: never reuse one (5, 10, 11, 14, 15 and 19 were used).
 */
#define FILE_ST_ENDPOINT 1
#define FILE_ST_HOST 2
#define FILE_ST_OVERLAY 3
#define FILE_PACKET 4
#define FILE_POLICY 6
#define FILE_DELIVER 7
#define FILE_ENCAP 8
#define FILE_FIB 9
#define FILE_ARP 12
#define FILE_IPV6 13
#define FILE_ND6 16
#define FILE_FIB6 17
#define FILE_NAT6 18
#define FILE_CT_FAMILY 20
#define FILE_DELIVER_FAMILY 21
#define FILE_FORWARD_FAMILY 22
#define FILE_HOST_FAMILY 23
#define FILE_OVERLAY_FAMILY 24
#define FILE_NAT_FAMILY 25
#define FILE_NAT_ICMP_FAMILY 26
#define FILE_MASQUERADE_FAMILY 27
#define FILE_NAT4 28

/* Remembers the place and gives the reason: `return DROP(p, DROP_INVALID);` */
#define DROP(p, reason) \
	({ \
		(p)->line = __LINE__; \
		(p)->file = SOURCE_FILE; \
		(reason); \
	})
