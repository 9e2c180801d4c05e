// SPDX-License-Identifier: Apache-2.0
// The echo server of pods without a command. `who` is answered with the client's address as seen here, an HTTP request
// with 200 and the same text, anything else comes back as it is.
#define _GNU_SOURCE
#include "lab-helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum role { LISTENER, DATAGRAM, CONNECTION };

struct item {
	int fd;
	enum role role;
	struct sockaddr_in6 peer;
};

static int poller;

static void watch(int fd, enum role role, const struct sockaddr_in6 *peer)
{
	struct item *item = calloc(1, sizeof(*item));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = item};

	if (item == NULL)
		fail("calloc");
	item->fd = fd;
	item->role = role;
	if (peer != NULL)
		item->peer = *peer;
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
		fail("epoll_ctl");
}

static size_t answer(const char *request, size_t length, const struct sockaddr_in6 *peer, char *reply)
{
	char who[64];

	format_peer(peer, who, sizeof(who));
	if (length >= 3 && memcmp(request, "who", 3) == 0)
		return snprintf(reply, MESSAGE_MAX, "%s\n", who);
	if (length > 4 && (memcmp(request, "GET ", 4) == 0 || memcmp(request, "POST", 4) == 0 || memcmp(request, "HEAD", 4) == 0 ||
			   memcmp(request, "PUT ", 4) == 0))
		return snprintf(reply, MESSAGE_MAX,
				"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: keep-alive\r\n\r\n%s\n",
				strlen(who) + 1, who);
	memcpy(reply, request, length);
	return length;
}

/* The answer leaves from the address that was asked, also when the host has several. */
static void on_datagram(int fd)
{
	char request[MESSAGE_MAX], reply[MESSAGE_MAX], control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	struct sockaddr_in6 peer;
	struct iovec data = {.iov_base = request, .iov_len = sizeof(request)};
	struct msghdr message = {.msg_name = &peer, .msg_namelen = sizeof(peer), .msg_iov = &data, .msg_iovlen = 1,
				 .msg_control = control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(fd, &message, 0);

	if (n < 0)
		return;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c))
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_ifindex = 0;
	data = (struct iovec){.iov_base = reply, .iov_len = answer(request, n, &peer, reply)};
	sendmsg(fd, &message, MSG_DONTWAIT);
}

static void on_readable(struct item *item)
{
	char request[MESSAGE_MAX], reply[MESSAGE_MAX];
	struct sockaddr_in6 peer;
	socklen_t size = sizeof(peer);
	ssize_t n;

	if (item->role == LISTENER) {
		int fd = accept4(item->fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			watch(fd, CONNECTION, &peer);
		return;
	}
	if (item->role == DATAGRAM) {
		on_datagram(item->fd);
		return;
	}
	n = recv(item->fd, request, sizeof(request), 0);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		close(item->fd);
		free(item);
		return;
	}
	send(item->fd, reply, answer(request, n, &item->peer, reply), MSG_NOSIGNAL);
}

static void listen_on(int type, const char *port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))};
	int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0), on = 1, off = 0;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Both families: IPv4 peers have mapped addresses. */
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0)
		fail("IPV6_V6ONLY");
	if (type == SOCK_DGRAM && setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0)
		fail("IPV6_RECVPKTINFO");
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail("bind");
	if (type == SOCK_STREAM && listen(fd, 512) < 0)
		fail("listen");
	watch(fd, type == SOCK_STREAM ? LISTENER : DATAGRAM, NULL);
}

int command_serve(int argc, char **argv)
{
	struct epoll_event events[64];

	poller = epoll_create1(EPOLL_CLOEXEC);
	if (poller < 0)
		fail("epoll_create1");
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "tcp:", 4) == 0)
			listen_on(SOCK_STREAM, argv[i] + 4);
		else if (strncmp(argv[i], "udp:", 4) == 0)
			listen_on(SOCK_DGRAM, argv[i] + 4);
		else
			usage("serve [tcp:PORT|udp:PORT]…");
	}
	signal(SIGTERM, SIG_DFL);
	puts("ready");
	for (;;) {
		int n = epoll_wait(poller, events, 64, -1);

		for (int i = 0; i < n; i++)
			on_readable(events[i].data.ptr);
	}
}
