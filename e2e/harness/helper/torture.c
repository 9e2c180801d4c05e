// SPDX-License-Identifier: Apache-2.0
// Payloads of awkward sizes, whole and in hand-made fragments, to a mirror and back: every byte is compared.
#define _GNU_SOURCE
#include "lab-helper.h"

#include <errno.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAYLOAD_MAX 65507
#define PACKET_MAX 65536
#define CHUNK 65536

static uint8_t next_byte(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void fill(uint8_t *to, size_t length, uint32_t seed)
{
	uint32_t state = seed * 2654435761u + 1;

	for (size_t i = 0; i < length; i++)
		to[i] = next_byte(&state);
}

static void send_all(int fd, const uint8_t *data, ssize_t length)
{
	while (length > 0) {
		ssize_t n = send(fd, data, length, MSG_NOSIGNAL);

		if (n <= 0)
			_exit(0);
		data += n;
		length -= n;
	}
}

static void mirror_stream(int listener)
{
	static uint8_t data[CHUNK];
	ssize_t n;
	int fd = accept(listener, NULL, NULL);

	if (fd < 0 || fork() != 0) {
		close(fd);
		return;
	}
	while ((n = recv(fd, data, sizeof(data), 0)) > 0)
		send_all(fd, data, n);
	_exit(0);
}

static int mirror_socket(int type, const char *port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
	int fd = socket(AF_INET6, type, 0), on = 1, off = 0, room = 4 << 20;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	if (bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || (type == SOCK_STREAM && listen(fd, 64) < 0))
		fail("mirror");
	return fd;
}

/* mirror PORT: TCP and UDP; whatever comes goes back, of any size. */
int command_mirror(int argc, char **argv)
{
	static uint8_t data[PACKET_MAX];
	struct pollfd polls[2];

	if (argc < 1)
		usage("mirror PORT");
	signal(SIGCHLD, SIG_IGN);
	polls[0] = (struct pollfd){.fd = mirror_socket(SOCK_STREAM, argv[0]), .events = POLLIN};
	polls[1] = (struct pollfd){.fd = mirror_socket(SOCK_DGRAM, argv[0]), .events = POLLIN};
	puts("ready");
	while (poll(polls, 2, -1) > 0) {
		struct sockaddr_in6 peer;
		socklen_t size = sizeof(peer);
		ssize_t n;

		if (polls[0].revents)
			mirror_stream(polls[0].fd);
		if (polls[1].revents && (n = recvfrom(polls[1].fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&peer, &size)) >= 0)
			sendto(polls[1].fd, data, n, 0, (struct sockaddr *)&peer, size);
	}
	return 1;
}

/* Both ways at once; the answer must be the same bytes. */
static const char *stream_exchange(const struct place *to, size_t total, double deadline)
{
	static uint8_t out[CHUNK], in[CHUNK];
	uint32_t sending = 7, checking = 7;
	size_t sent = 0, back = 0, from = 0, ready = 0;
	int fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;
	const char *result = "ok";

	set_nonblocking(fd);
	if (connect(fd, &to->any, to->size) < 0 && errno != EINPROGRESS)
		error = errno;
	while (error == 0 && (back < total || total == 0)) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN | (sent < total || total == 0 ? POLLOUT : 0)};
		ssize_t n;

		if (now_ms() >= deadline || poll(&poll_fd, 1, (int)(deadline - now_ms()) + 1) <= 0) {
			error = ETIMEDOUT;
			break;
		}
		if (poll_fd.revents & (POLLERR | POLLHUP)) {
			socklen_t size = sizeof(error);

			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
			error = error == 0 ? ECONNRESET : error;
			break;
		}
		if (total == 0 && poll_fd.revents & POLLOUT)
			break; /* the handshake is all */
		if (poll_fd.revents & POLLOUT && sent < total) {
			if (from == ready) {
				ready = total - sent < CHUNK ? total - sent : CHUNK;
				for (from = 0; from < ready; from++)
					out[from] = next_byte(&sending);
				from = 0;
			}
			n = send(fd, out + from, ready - from, MSG_NOSIGNAL);
			if (n > 0) {
				from += n;
				sent += n;
			}
		}
		if (poll_fd.revents & POLLIN) {
			n = recv(fd, in, sizeof(in), 0);
			if (n == 0)
				error = ECONNRESET;
			for (ssize_t i = 0; i < n; i++)
				if (in[i] != next_byte(&checking))
					result = "wrong";
			back += n > 0 ? n : 0;
		}
	}
	close(fd);
	return error != 0 ? failure_name(error) : result;
}

/* bulk IP PORT BYTES TIMEOUT_MS: that many through a mirror. */
int command_bulk(int argc, char **argv)
{
	double start = now_ms();
	const char *result;
	struct place to;

	if (argc < 4)
		usage("bulk IP PORT BYTES TIMEOUT_MS");
	to = place_of(argv[0], argv[1]);
	result = stream_exchange(&to, strtoul(argv[2], NULL, 10), start + atof(argv[3]));
	print_result(result, now_ms() - start, "", 0);
	return strcmp(result, "ok") == 0 ? 0 : 1;
}

enum order { WHOLE, IN_ORDER, REVERSED, DUPLICATED };
static const char *const ORDERS[] = {"whole", "in-order", "reversed", "duplicated"};

struct torture {
	struct place to, from;
	bool ipv6;
	size_t mtu;
	double timeout;
	int datagrams, echoes, raw;
	uint16_t serial;
};

static uint32_t sum_words(const uint8_t *data, size_t length, uint32_t sum)
{
	for (size_t i = 0; i + 1 < length; i += 2)
		sum += data[i] << 8 | data[i + 1];
	if (length & 1)
		sum += data[length - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static const uint8_t *address_bytes(const struct place *place, bool ipv6)
{
	return ipv6 ? (const uint8_t *)&place->v6.sin6_addr : (const uint8_t *)&place->v4.sin_addr;
}

static uint16_t l4_checksum(const struct torture *t, const uint8_t *l4, size_t length, uint8_t protocol, bool pseudo)
{
	size_t size = t->ipv6 ? 16 : 4;
	uint32_t sum = 0;

	if (pseudo) {
		sum = sum_words(address_bytes(&t->from, t->ipv6), size, sum);
		sum = sum_words(address_bytes(&t->to, t->ipv6), size, sum) + protocol + (length >> 16) + (length & 0xffff);
	}
	return htons(~sum_words(l4, length, sum) & 0xffff);
}

static uint16_t port_of(const struct place *place, bool ipv6)
{
	return ipv6 ? place->v6.sin6_port : place->v4.sin_port;
}

/* The whole L4 message: header and payload. Returns its length. */
static size_t make_message(struct torture *t, bool echo, size_t size, uint8_t *out)
{
	fill(out + 8, size, t->serial);
	if (echo) {
		struct icmphdr icmp = {.type = t->ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO, .un.echo = {.id = htons(getpid() & 0xffff), .sequence = htons(t->serial)}};

		memcpy(out, &icmp, sizeof(icmp));
		icmp.checksum = l4_checksum(t, out, size + 8, IPPROTO_ICMPV6, t->ipv6);
		memcpy(out, &icmp, sizeof(icmp));
	} else {
		struct udphdr udp = {.source = port_of(&t->from, t->ipv6), .dest = port_of(&t->to, t->ipv6), .len = htons(size + 8)};

		memcpy(out, &udp, sizeof(udp));
		udp.check = l4_checksum(t, out, size + 8, IPPROTO_UDP, true);
		if (udp.check == 0)
			udp.check = 0xffff;
		memcpy(out, &udp, sizeof(udp));
	}
	return size + 8;
}

static void send_fragment(struct torture *t, uint8_t protocol, const uint8_t *data, size_t offset, size_t length, bool more)
{
	static uint8_t packet[PACKET_MAX];
	size_t header;

	if (t->ipv6) {
		struct ip6_hdr ip = {.ip6_dst = t->to.v6.sin6_addr, .ip6_src = t->from.v6.sin6_addr};
		struct ip6_frag fragment = {.ip6f_nxt = protocol, .ip6f_offlg = htons(offset | more), .ip6f_ident = htonl(0x5000000u | t->serial)};

		ip.ip6_flow = htonl(6u << 28);
		ip.ip6_plen = htons(sizeof(fragment) + length);
		ip.ip6_nxt = IPPROTO_FRAGMENT;
		ip.ip6_hlim = 64;
		memcpy(packet, &ip, sizeof(ip));
		memcpy(packet + sizeof(ip), &fragment, sizeof(fragment));
		header = sizeof(ip) + sizeof(fragment);
	} else {
		struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol, .id = htons(t->serial), .frag_off = htons(offset / 8 | (more ? IP_MF : 0)),
				   .saddr = t->from.v4.sin_addr.s_addr, .daddr = t->to.v4.sin_addr.s_addr, .tot_len = htons(20 + length)};

		memcpy(packet, &ip, sizeof(ip));
		header = sizeof(ip);
	}
	memcpy(packet + header, data + offset, length);
	if (t->ipv6) {
		struct sockaddr_in6 to = t->to.v6;

		to.sin6_port = 0;
		sendto(t->raw, packet, header + length, 0, (struct sockaddr *)&to, sizeof(to));
	} else {
		sendto(t->raw, packet, header + length, 0, &t->to.any, t->to.size);
	}
}

/* Pieces as large as the link allows, but at least two. */
static void send_in_pieces(struct torture *t, uint8_t protocol, const uint8_t *message, size_t length, enum order order)
{
	size_t room = (t->mtu - (t->ipv6 ? 48 : 20)) & ~7ul, half = (length / 2 + 7) & ~7ul;
	size_t piece = length <= room ? half : room;
	size_t count = (length + piece - 1) / piece;

	for (size_t i = 0; i < count; i++) {
		size_t number = order == REVERSED ? count - 1 - i : i;
		size_t offset = number * piece, left = length - offset;

		for (int copies = order == DUPLICATED ? 2 : 1; copies > 0; copies--)
			send_fragment(t, protocol, message, offset, left < piece ? left : piece, offset + piece < length);
	}
}

/* What comes back on a socket: the payload's place in it, or -1 when it is somebody else's. */
static ssize_t payload_at(const struct torture *t, bool echo, const uint8_t *data, ssize_t n)
{
	struct icmphdr icmp;
	ssize_t at = echo && !t->ipv6 ? (data[0] & 15) * 4 : 0;

	if (!echo)
		return 0;
	if (n < at + 8)
		return -1;
	memcpy(&icmp, data + at, sizeof(icmp));
	if (icmp.type != (t->ipv6 ? ICMP6_ECHO_REPLY : ICMP_ECHOREPLY) || icmp.un.echo.id != htons(getpid() & 0xffff) ||
	    icmp.un.echo.sequence != htons(t->serial))
		return -1;
	return at + 8;
}

static const char *await_mirror(struct torture *t, bool echo, const uint8_t *payload, size_t size, double timeout)
{
	static uint8_t data[PACKET_MAX + 64];
	struct pollfd poll_fd = {.fd = echo ? t->echoes : t->datagrams, .events = POLLIN};
	double deadline = now_ms() + timeout;
	const char *result = "timeout";

	while (now_ms() < deadline && poll(&poll_fd, 1, (int)(deadline - now_ms()) + 1) > 0) {
		ssize_t n = recv(poll_fd.fd, data, sizeof(data), MSG_DONTWAIT), at;

		if (n < 0 && errno == EAGAIN)
			continue;
		if (n < 0)
			return failure_name(errno);
		at = payload_at(t, echo, data, n);
		if (at < 0)
			continue;
		if ((size_t)(n - at) == size && memcmp(data + at, payload, size) == 0)
			return "ok";
		/* A second answer to the case before, of which two copies arrived whole; or this one's, changed: then no right one follows. */
		result = "wrong";
	}
	return result;
}

static const char *datagram_exchange(struct torture *t, bool echo, size_t size, enum order order)
{
	static uint8_t message[PACKET_MAX];
	size_t length;
	ssize_t sent = 0;

	t->serial++;
	length = make_message(t, echo, size, message);
	if (order != WHOLE)
		send_in_pieces(t, echo ? (t->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) : IPPROTO_UDP, message, length, order);
	else if (echo)
		sent = send(t->echoes, message, length, 0);
	else
		sent = send(t->datagrams, message + 8, size, 0);
	if (sent < 0)
		return failure_name(errno);
	/* Pieces before the first may be dropped on the way: that is seen soon. */
	return await_mirror(t, echo, message + 8, size, order == REVERSED ? t->timeout / 10 : t->timeout);
}

static int open_or_fail(int family, int type, int protocol, const struct place *to)
{
	int fd = socket(family, type, protocol), room = 4 << 20;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	if (to != NULL && connect(fd, &to->any, to->size) < 0)
		fail("connect");
	return fd;
}

static void print_case(const char *protocol, size_t size, const char *order, const char *result)
{
	printf("{\"protocol\":\"%s\",\"size\":%zu,\"order\":\"%s\",\"result\":\"%s\"}\n", protocol, size, order, result);
}

/* torture IP PORT MTU TIMEOUT_MS: a line for each protocol, size and order of pieces. */
int command_torture(int argc, char **argv)
{
	/* Pieces of a run before, of which some are waited for still, must not have the same number. */
	struct torture t = {.serial = (uint16_t)(uint64_t)now_ms()};
	struct place nobody;

	if (argc < 4)
		usage("torture IP PORT MTU TIMEOUT_MS");
	t.to = place_of(argv[0], argv[1]);
	nobody = place_of(argv[0], "0");
	t.ipv6 = t.to.any.sa_family == AF_INET6;
	t.mtu = atoi(argv[2]);
	t.timeout = atof(argv[3]);
	t.datagrams = open_or_fail(t.to.any.sa_family, SOCK_DGRAM, 0, &t.to);
	t.echoes = open_or_fail(t.to.any.sa_family, SOCK_RAW, t.ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, &nobody);
	t.raw = open_or_fail(t.to.any.sa_family, SOCK_RAW, IPPROTO_RAW, NULL);
	t.from.size = sizeof(t.from.v6);
	if (getsockname(t.datagrams, &t.from.any, &t.from.size) < 0)
		fail("getsockname");
	for (enum order order = WHOLE; order <= DUPLICATED; order++) {
		size_t headers = (t.ipv6 ? 40 : 20) + 8;
		const size_t sizes[] = {0, 1, t.mtu - headers - 1, t.mtu - headers, t.mtu - headers + 1, t.mtu - 1, t.mtu, t.mtu + 1, 3 * t.mtu, PAYLOAD_MAX};

		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			if (order == WHOLE)
				print_case("TCP", sizes[i], ORDERS[order], stream_exchange(&t.to, sizes[i], now_ms() + t.timeout));
			/* A header alone is in one piece. */
			if (order != WHOLE && sizes[i] == 0)
				continue;
			print_case("UDP", sizes[i], ORDERS[order], datagram_exchange(&t, false, sizes[i], order));
			print_case("ICMP", sizes[i], ORDERS[order], datagram_exchange(&t, true, sizes[i], order));
		}
	}
	return 0;
}
