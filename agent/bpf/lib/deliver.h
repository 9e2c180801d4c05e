/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Towards an endpoint of this node: its ingress policy, its own connection entry, its MAC, its veth. What has addresses is in deliver_family.h. */
#pragma once

#include "ct.h"
#include "policy.h"

#undef SOURCE_FILE
#define SOURCE_FILE FILE_DELIVER

static __always_inline int check_ttl(struct packet *p)
{
	return p->ttl <= 1 ? DROP(p, DROP_TTL_EXCEEDED) : 0;
}

enum delivery {
	DELIVER_FORWARD,   /* seen at tc ingress: the packet makes a hop, and may go straight into the pod */
	DELIVER_FROM_WIRE, /* the same; its connection was looked up, and its source is beyond this node */
	DELIVER_FROM_HOST, /* seen at tc egress of cilium_host: the stack counted the hop, the veth must be crossed */
};
