/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv6 towards an endpoint of this node. */
#pragma once

#include "ct6.h"
#include "deliver.h"
#include "nd6.h"

static __always_inline void make_hop6(struct ipv6_header *ip)
{
	ip->hop_limit--;
}

#include "family6.h"
#include "deliver_family.h"
