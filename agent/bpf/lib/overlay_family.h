/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */

#undef SOURCE_FILE
#define SOURCE_FILE FILE_OVERLAY_FAMILY
/* Packets of other nodes' pods, in one family. Included by st_overlay.bpf.c. */

static FAMILY_CALL int FN(packet_from_overlay)(struct __sk_buff *skb, struct packet *p)
{
	const struct endpoint_info *local;
	PARSE_INTO(tuple);
	int ret = PARSE_HEADER(tuple);

	if (ret < 0)
		return ret;
#if FAMILY == 6
	if (is_no_source6(&tuple->saddr))
		return DROP(p, DROP_INVALID_SIP);
#endif
	ret = p->src_id == REMOTE_NODE_ID ? identity_of_node(p, FN(lookup_ipcache)(ADDRESS(tuple->saddr))) : 0;
	if (ret < 0)
		return ret;
	tell_worlds_apart(p, FN(config_world_ipv));
	local = FN(lookup_endpoint)(ADDRESS(tuple->daddr));
	if (!local)
		return DROP(p, DROP_UNROUTABLE);
	/* The inner MACs are those of another node: without this the stack takes the packet for somebody else's. */
	do_change_type(skb, PACKET_HOST);
	if (local->flags & ENDPOINT_HOST)
		return to_host(skb, p);
	ret = PARSE_L4(tuple);
	if (ret < 0)
		return ret;
	trace_from(skb, p, TRACE_FROM_OVERLAY);
	return FN(deliver)(skb, p, tuple, local, DELIVER_FORWARD);
}
