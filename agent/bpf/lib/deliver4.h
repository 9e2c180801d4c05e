/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4 towards an endpoint of this node. */
#pragma once

#include "ct4.h"
#include "deliver.h"

/* Sum of the header stays right: the TTL is the high byte of its 16-bit word. */
static __always_inline void make_hop4(struct ipv4_header *ip)
{
	__u32 check = ip->check;

	check += bpf_htons(0x0100);
	ip->check = (__u16)(check + (check >= 0xffff));
	ip->ttl--;
}

#include "family4.h"
#include "deliver_family.h"
