// SPDX-License-Identifier: Apache-2.0
// Listens in the namespace it is started in and connects from another: the way into the lab's API server for programs
// on the machine, without a link between the two.
#define _GNU_SOURCE
#include "lab-helper.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in target;

struct direction {
	int from, to;
};

static void *pump(void *argument)
{
	struct direction d = *(struct direction *)argument;
	char buffer[65536];
	ssize_t n;

	free(argument);
	while ((n = read(d.from, buffer, sizeof(buffer))) > 0)
		for (ssize_t done = 0, w; done < n; done += w)
			if ((w = send(d.to, buffer + done, n - done, MSG_NOSIGNAL)) <= 0)
				goto out;
out:
	shutdown(d.to, SHUT_WR);
	shutdown(d.from, SHUT_RD);
	return NULL;
}

static pthread_t start_pump(int from, int to)
{
	struct direction *d = malloc(sizeof(*d));
	pthread_t thread;

	if (d == NULL)
		fail("malloc");
	*d = (struct direction){from, to};
	if (pthread_create(&thread, NULL, pump, d) != 0)
		fail("pthread_create");
	return thread;
}

static void *serve_client(void *argument)
{
	int client = (int)(intptr_t)argument, on = 1, server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (server >= 0 && connect(server, (struct sockaddr *)&target, sizeof(target)) == 0) {
		pthread_t up, down;

		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		up = start_pump(client, server);
		down = start_pump(server, client);
		pthread_join(up, NULL);
		pthread_join(down, NULL);
	}
	if (server >= 0)
		close(server);
	close(client);
	return NULL;
}

/* relay NETNS_PATH IP PORT: prints the loopback port it listens on. */
int command_relay(int argc, char **argv)
{
	struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof(here);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
	pthread_attr_t detached;

	if (argc < 3)
		usage("relay NETNS_PATH IP PORT");
	target = address_of(argv[1], argv[2]);
	if (listener < 0 || bind(listener, (struct sockaddr *)&here, size) < 0 || listen(listener, 128) < 0)
		fail("listen");
	getsockname(listener, (struct sockaddr *)&here, &size);
	fd = open(argv[0], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		fail(argv[0]);
	printf("%u\n", ntohs(here.sin_port));
	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&detached, 256 * 1024);
	for (;;) {
		int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (client >= 0 && pthread_create(&thread, &detached, serve_client, (void *)(intptr_t)client) != 0)
			close(client);
	}
}
