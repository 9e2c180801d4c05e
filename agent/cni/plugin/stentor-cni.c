// SPDX-License-Identifier: Apache-2.0
/*
 * The CNI plugin: hands its environment and stdin to the agent's socket and prints what comes back. Decides nothing,
 * except what to answer when there is no agent. Static, because a runtime starts it for every pod.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/var/run/stentor/agent.sock"
/* Beside the socket, unless the configuration names another folder. */
#define QUEUE_NAME "deleteQueue"
#define DEFAULT_TIMEOUT_S 90
#define INPUT_MAX (1u << 20)
#define ANSWER_MAX (4u << 20)
/* Cilium's limit of queued deletes: beyond it the runtime is told to come again. */
#define QUEUE_MAX 256

/* Error codes of the CNI specification. */
#define CNI_IO_FAILURE 5
#define CNI_TRY_AGAIN 11
#define CNI_NOT_AVAILABLE 50

extern char **environ;

struct buffer {
	char *data;
	size_t length;
	size_t limit;
};

static bool append(struct buffer *b, const void *data, size_t length)
{
	if (length > b->limit - b->length)
		return false;
	char *grown = realloc(b->data, b->length + length + 1);
	if (!grown)
		return false;
	memcpy(grown + b->length, data, length);
	b->data = grown;
	b->length += length;
	b->data[b->length] = '\0';
	return true;
}

static bool write_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, data, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		length -= (size_t)n;
	}
	return true;
}

/* 0 at the end, 1 when the limit is passed, -errno otherwise. */
static int read_all(int fd, struct buffer *into)
{
	char chunk[16384];

	for (;;) {
		ssize_t n = read(fd, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		if (!append(into, chunk, (size_t)n))
			return 1;
	}
}

static const char *skip_space(const char *p)
{
	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	return p;
}

/*
 * At an opening quote: copies the string's text to `out` (simple escapes resolved, cut at `size`) and returns what
 * follows the closing quote, or NULL when the string does not end.
 */
static const char *json_string(const char *p, char *out, size_t size)
{
	size_t n = 0;

	for (p++; *p && *p != '"'; p++) {
		char c = *p;
		if (c == '\\') {
			c = *++p;
			if (!c)
				return NULL;
			if (c == 'n')
				c = '\n';
			else if (c == 't')
				c = '\t';
		}
		if (n + 1 < size)
			out[n++] = c;
	}
	out[n] = '\0';
	return *p ? p + 1 : NULL;
}

/* The value of the first member `name` anywhere in the configuration; false leaves `out` as it is. */
static bool find_member(const char *json, const char *name, char *out, size_t size)
{
	char text[4096];

	for (const char *p = json; p && *p;) {
		if (*p != '"') {
			p++;
			continue;
		}
		p = json_string(p, text, sizeof(text));
		if (!p || strcmp(text, name) != 0)
			continue;
		const char *after = skip_space(p);
		if (*after != ':')
			continue;
		after = skip_space(after + 1);
		if (*after == '"')
			return json_string(after, out, size) != NULL;
		if (isdigit((unsigned char)*after)) {
			size_t n = strspn(after, "0123456789");
			snprintf(out, size, "%.*s", (int)n, after);
			return true;
		}
		return false;
	}
	return false;
}

static void put_json_text(const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (c < 0x20)
			printf("\\u%04x", c);
		else
			putchar(c);
	}
}

static int fail(const char *version, int code, const char *message, const char *details)
{
	printf("{\"cniVersion\":\"");
	put_json_text(version);
	printf("\",\"code\":%d,\"msg\":\"", code);
	put_json_text(message);
	printf("\",\"details\":\"");
	put_json_text(details);
	printf("\"}\n");
	fflush(stdout);
	return 1;
}

/* Every CNI_ variable as KEY=VALUE\0, one more \0, then stdin. */
static bool make_body(struct buffer *body, const struct buffer *input)
{
	for (char **entry = environ; *entry; entry++)
		if (strncmp(*entry, "CNI_", 4) == 0 && !append(body, *entry, strlen(*entry) + 1))
			return false;
	return append(body, "", 1) && append(body, input->data ? input->data : "", input->length);
}

static int connect_agent(const char *path, int timeout_s)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct timeval timeout = {.tv_sec = timeout_s};

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int error = errno;
		close(fd);
		return -error;
	}
	return fd;
}

static int exchange(int fd, const struct buffer *body, struct buffer *answer)
{
	char head[256];
	int n = snprintf(head, sizeof(head),
			 "POST /v1/cni HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
			 "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", body->length);

	if (!write_all(fd, head, (size_t)n) || !write_all(fd, body->data, body->length))
		return -EPIPE;
	return read_all(fd, answer);
}

/* Prints the body of a complete answer and returns the exit code it carries; -1 when the answer is not one. */
static int print_answer(struct buffer *answer)
{
	char *end = answer->data ? strstr(answer->data, "\r\n\r\n") : NULL;
	if (!end || strncmp(answer->data, "HTTP/1.1 200 ", 13) != 0)
		return -1;
	*end = '\0';
	const char *code = strcasestr(answer->data, "\r\nx-cni-exit: ");
	const char *length = strcasestr(answer->data, "\r\ncontent-length: ");
	if (!code || !length)
		return -1;
	const char *body = end + 4;
	size_t have = answer->length - (size_t)(body - answer->data);
	if (strtoul(length + 18, NULL, 10) != have)
		return -1;
	if (!write_all(STDOUT_FILENO, body, have))
		return 1;
	return code[14] == '0' ? 0 : 1;
}

static bool safe_name(const char *text)
{
	if (!*text || *text == '.')
		return false;
	return strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == strlen(text);
}

static int count_files(const char *dir)
{
	DIR *open_dir = opendir(dir);
	int n = 0;

	if (!open_dir)
		return 0;
	for (struct dirent *entry; (entry = readdir(open_dir));)
		if (strlen(entry->d_name) > 4 && strcmp(entry->d_name + strlen(entry->d_name) - 4, ".del") == 0)
			n++;
	closedir(open_dir);
	return n;
}

static bool write_file(const char *dir, const char *name, const struct buffer *body)
{
	char temporary[8192], final[8192];

	snprintf(temporary, sizeof(temporary), "%s/%s.tmp", dir, name);
	snprintf(final, sizeof(final), "%s/%s.del", dir, name);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	bool written = write_all(fd, body->data, body->length) && fsync(fd) == 0;
	close(fd);
	if (!written || rename(temporary, final) < 0) {
		unlink(temporary);
		return false;
	}
	return true;
}

static void make_dirs(const char *path)
{
	char copy[4096];

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *p = copy + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		mkdir(copy, 0700);
		*p = '/';
	}
	mkdir(copy, 0700);
}

/* A delete without an agent is kept for it, so that the runtime does not loop: replayed when the agent starts. */
static bool queue_delete(const char *dir, const struct buffer *body)
{
	const char *container = getenv("CNI_CONTAINERID"), *ifname = getenv("CNI_IFNAME");
	char name[512], lock_path[4096];

	if (!container || !ifname || !safe_name(container) || !safe_name(ifname))
		return false;
	if ((size_t)snprintf(name, sizeof(name), "%s-%s", container, ifname) >= 200 || strlen(dir) > 3000)
		return false;
	make_dirs(dir);
	snprintf(lock_path, sizeof(lock_path), "%s/lock", dir);
	int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0)
		return false;
	bool queued = flock(lock, LOCK_EX) == 0 && count_files(dir) < QUEUE_MAX && write_file(dir, name, body);
	close(lock);
	return queued;
}

static void default_queue(const char *socket_path, char *queue, size_t size)
{
	const char *slash = strrchr(socket_path, '/');
	int folder = slash ? (int)(slash - socket_path) : 0;

	snprintf(queue, size, "%.*s/%s", folder, socket_path, QUEUE_NAME);
}

struct call {
	const char *version;
	const char *config;
	const char *socket_path;
	int timeout_s;
	const struct buffer *body;
};

/* The agent's answer is printed, and its exit code returned; -1 and `details` when there is none. */
static int ask_agent(const struct call *call, char *details, size_t size)
{
	struct buffer answer = {.limit = ANSWER_MAX};
	int fd = connect_agent(call->socket_path, call->timeout_s);

	if (fd < 0) {
		snprintf(details, size, "%s: %s", call->socket_path, strerror(-fd));
		return -1;
	}
	int error = exchange(fd, call->body, &answer);
	close(fd);
	int code = error == 0 ? print_answer(&answer) : -1;
	free(answer.data);
	if (code < 0)
		snprintf(details, size, "%s: %s", call->socket_path, error < 0 ? strerror(-error) : "the answer was cut short");
	return code;
}

static int queued_delete(const struct call *call, const char *details)
{
	char queue[4096], again[4300];

	default_queue(call->socket_path, queue, sizeof(queue));
	find_member(call->config, "deleteQueueDir", queue, sizeof(queue));
	if (!queue_delete(queue, call->body))
		return fail(call->version, CNI_TRY_AGAIN, "the agent is not reachable and the delete could not be queued", details);
	/* An agent that came meanwhile may have looked into the queue before. A delete twice is a delete. */
	int code = ask_agent(call, again, sizeof(again));
	return code < 0 ? 0 : code;
}

static int without_agent(const struct call *call, const char *details)
{
	const char *command = getenv("CNI_COMMAND"), *version = call->version;

	if (command && strcmp(command, "DEL") == 0)
		return queued_delete(call, details);
	if (command && strcmp(command, "STATUS") == 0)
		return fail(version, CNI_NOT_AVAILABLE, "the agent is not reachable", details);
	return fail(version, CNI_TRY_AGAIN, "the agent is not reachable: try again later", details);
}

int main(void)
{
	struct buffer input = {.limit = INPUT_MAX}, body = {.limit = 2 * INPUT_MAX};
	char socket_path[4096] = DEFAULT_SOCKET, version[32] = "1.0.0", seconds[16] = "", details[4300];
	const char *command = getenv("CNI_COMMAND");

	signal(SIGPIPE, SIG_IGN);
	int error = read_all(STDIN_FILENO, &input);
	if (error)
		return fail(version, CNI_IO_FAILURE, "cannot read the network configuration from stdin",
			    error > 0 ? "it is larger than 1 MiB" : strerror(-error));
	const char *config = input.data ? input.data : "";
	find_member(config, "cniVersion", version, sizeof(version));
	if (command && strcmp(command, "VERSION") == 0) {
		printf("{\"cniVersion\":\"");
		put_json_text(version);
		puts("\",\"supportedVersions\":[\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}");
		return 0;
	}
	find_member(config, "agentSocket", socket_path, sizeof(socket_path));
	find_member(config, "agentTimeoutSeconds", seconds, sizeof(seconds));
	int timeout_s = atoi(seconds) > 0 ? atoi(seconds) : DEFAULT_TIMEOUT_S;
	if (!make_body(&body, &input))
		return fail(version, CNI_IO_FAILURE, "the environment and the configuration are too large", "");

	const struct call call = {
		.version = version, .config = config, .socket_path = socket_path, .timeout_s = timeout_s, .body = &body,
	};
	int code = ask_agent(&call, details, sizeof(details));
	return code < 0 ? without_agent(&call, details) : code;
}
