// SPDX-License-Identifier: Apache-2.0
// The lab's helper: echo server, probes and a relay. One static program, so that many pods cost little memory.
#define _GNU_SOURCE
#include "lab-helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

void usage(const char *text)
{
	fprintf(stderr, "usage: lab-helper [--netns PATH] %s\n", text);
	exit(2);
}

struct sockaddr_in address_of(const char *ip, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};

	if (inet_pton(AF_INET, ip, &address.sin_addr) != 1) {
		fprintf(stderr, "not an IPv4 address: %s\n", ip);
		exit(2);
	}
	return address;
}

struct place place_of(const char *ip, const char *port)
{
	struct place place = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(atoi(port))}, .size = sizeof(place.v6)};

	if (inet_pton(AF_INET6, ip, &place.v6.sin6_addr) == 1)
		return place;
	return (struct place){.v4 = address_of(ip, port), .size = sizeof(place.v4)};
}

void format_peer(const struct sockaddr_in6 *peer, char *out, size_t size)
{
	bool mapped = IN6_IS_ADDR_V4MAPPED(&peer->sin6_addr);
	char ip[INET6_ADDRSTRLEN];

	inet_ntop(mapped ? AF_INET : AF_INET6, mapped ? &peer->sin6_addr.s6_addr[12] : &peer->sin6_addr.s6_addr[0], ip, sizeof(ip));
	snprintf(out, size, "%s %u", ip, ntohs(peer->sin6_port));
}

void print_json_string(const char *text, size_t length)
{
	putchar('"');
	for (size_t i = 0; i < length; i++) {
		unsigned char c = text[i];

		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
	putchar('"');
}

void print_result(const char *result, double ms, const char *reply, size_t length)
{
	printf("{\"result\":\"%s\",\"ms\":%.2f,\"reply\":", result, ms);
	print_json_string(reply, length);
	puts("}");
}

const char *failure_name(int error)
{
	switch (error) {
	case ECONNRESET:
	case EPIPE:
		return "reset";
	case ECONNREFUSED:
		return "refused";
	case EHOSTUNREACH:
	case ENETUNREACH:
		return "unreachable";
	case ETIMEDOUT:
	case EAGAIN:
		return "timeout";
	default:
		return strerrorname_np(error);
	}
}

void bind_source(int fd, const char *ip)
{
	struct place source;

	if (ip == NULL)
		return;
	source = place_of(ip, "0");
	if (bind(fd, &source.any, source.size) < 0)
		fail("bind");
}

void set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		fail("fcntl");
}

static void enter_netns(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		fail(path);
	close(fd);
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} COMMANDS[] = {
	{"serve", command_serve}, {"connect", command_connect}, {"udp", command_udp}, {"probes", command_probes}, {"stream", command_stream},
	{"pace", command_pace}, {"flows", command_flows}, {"talk", command_talk}, {"relay", command_relay}, {"eager", command_eager},
	{"attach", command_attach}, {"volley", command_volley}, {"mirror", command_mirror}, {"torture", command_torture}, {"bulk", command_bulk},
};

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 2 && strcmp(argv[1], "--netns") == 0) {
		enter_netns(argv[2]);
		argc -= 2;
		argv += 2;
	}
	for (size_t i = 0; argc > 1 && i < sizeof(COMMANDS) / sizeof(COMMANDS[0]); i++)
		if (strcmp(argv[1], COMMANDS[i].name) == 0)
			return COMMANDS[i].run(argc - 2, argv + 2);
	usage("serve|connect|udp|probes|stream|pace|flows|talk|relay|eager|attach|volley|mirror|torture|bulk …");
}
