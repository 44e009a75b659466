// What becomes of GPU memory that two processes share when one of them dies: cc -O2 peerDeath.c -o peerDeath -ldl -lm
//     peerDeath SHARING DEATH KERNELS.ptx
// SHARING is ipc (cuIpcGetMemHandle) or descriptor (cuMemExportToShareableHandle). The owner has the memory, the reader maps it; both
// use one GPU. DEATH: owner-idle, owner-reading (SIGKILL while a kernel of the reader reads it), owner-fault (an illegal address ends
// the owner's context, and the owner), reader-reading (SIGKILL of the reader while its kernel reads). What the survivor finds is printed.
#define _GNU_SOURCE
#include "driver.h"
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { words = 64 << 20, pattern = 0x1badf00d, posixDescriptor = 1, pinnedOnDevice = 1 };

static int sharesDescriptor;
static const char *kernels;
static char label[100];

static void result(const char *what, const char *text) {
  char name[200];
  snprintf(name, sizeof name, "%s: %s", label, what);
  say(name, text);
}

static void sendBytes(int socket, const void *bytes, size_t count, int descriptor) {
  struct iovec part = {(void *)bytes, count};
  char control[CMSG_SPACE(sizeof(int))] = {0};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  if (sendmsg(socket, &message, 0) < 0) {
    perror("sendmsg");
    exit(1);
  }
}

// Returns the descriptor that came along, or -1.
static int receiveBytes(int socket, void *bytes, size_t count) {
  struct iovec part = {bytes, count};
  char control[CMSG_SPACE(sizeof(int))] = {0};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  if (recvmsg(socket, &message, 0) != (ssize_t)count) {
    fail(label, "the other process ended early");
    exit(1);
  }
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  int descriptor = -1;
  if (header != NULL) memcpy(&descriptor, CMSG_DATA(header), sizeof(int));
  return descriptor;
}

static const CUmemAllocationProp property = {
    .type = pinnedOnDevice, .requestedHandleTypes = posixDescriptor, .location = {1, 0}};

static CUdeviceptr mapHandle(CUmemHandle handle) {
  const CUmemAccessDesc access = {{1, 0}, 3};
  CUdeviceptr address;
  MUST(cuMemAddressReserve(&address, words * 4ull, 0, 0, 0));
  MUST(cuMemMap(address, words * 4ull, 0, handle, 0));
  MUST(cuMemSetAccess(address, words * 4ull, &access, 1));
  return address;
}

static CUdeviceptr share(int socket) {
  CUdeviceptr memory;
  CUipcMemHandle ipc = {0};
  int descriptor = -1;
  if (sharesDescriptor) {
    CUmemHandle handle;
    MUST(cuMemCreate(&handle, words * 4ull, &property, 0));
    MUST(cuMemExportToShareableHandle(&descriptor, handle, posixDescriptor, 0));
    memory = mapHandle(handle);
  } else {
    MUST(cuMemAlloc(&memory, words * 4ull));
    MUST(cuIpcGetMemHandle(&ipc, memory));
  }
  MUST(cuMemsetD32(memory, pattern, words));
  MUST(cuCtxSynchronize());
  sendBytes(socket, &ipc, sizeof ipc, descriptor);
  return memory;
}

static CUdeviceptr openShared(int socket) {
  CUdeviceptr memory;
  CUipcMemHandle ipc;
  const int descriptor = receiveBytes(socket, &ipc, sizeof ipc);
  if (sharesDescriptor) {
    CUmemHandle handle;
    MUST(cuMemImportFromShareableHandle(&handle, (void *)(intptr_t)descriptor, posixDescriptor));
    memory = mapHandle(handle);
    MUST(cuMemRelease(handle));
    close(descriptor);
  } else {
    MUST(cuIpcOpenMemHandle(&memory, ipc, 1));
  }
  return memory;
}

// "as written", the contents if they differ, or the error of reading them.
static const char *contents(CUdeviceptr memory) {
  static char text[60];
  uint32_t ends[2] = {0, 0};
  CUresult code = cuMemcpyDtoH(ends, memory, 4);
  if (code == 0) code = cuMemcpyDtoH(ends + 1, memory + (words - 1) * 4ull, 4);
  if (code != 0) return errorName(code);
  if (ends[0] == pattern && ends[1] == pattern) return "as written";
  snprintf(text, sizeof text, "%08x %08x", ends[0], ends[1]);
  return text;
}

// Reads the memory for about two seconds of GPU time; returns when the kernel has begun.
static CUdeviceptr readForLong(CUdeviceptr memory) {
  CUfunction copy = functionOf(loadModule(kernels), "copyWords");
  CUdeviceptr target;
  size_t count = words / 4;
  int rounds = 12000;
  MUST(cuMemAlloc(&target, words * 4ull));
  MUST(cuMemsetD32(target, 0, words));
  void *arguments[] = {&target, &memory, &count, &rounds};
  launch(copy, 1024, 256, 0, NULL, arguments);
  usleep(100000);
  return target;
}

// Fills half of what is free with other words: would show if the memory had been given away.
static void fillFreeMemory(void) {
  size_t free, total;
  CUdeviceptr other;
  MUST(cuMemGetInfo(&free, &total));
  MUST(cuMemAlloc(&other, free / 2));
  MUST(cuMemsetD32(other, 0x55555555, free / 8));
  MUST(cuCtxSynchronize());
  MUST(cuMemFree(other));
}

static double freeMegabytes(void) {
  size_t free, total;
  MUST(cuMemGetInfo(&free, &total));
  return free / 1e6;
}

static void own(int socket, const char *death) {
  startDevice();
  CUdeviceptr memory = share(socket);
  char word;
  receiveBytes(socket, &word, 1);  // the reader says that it is ready
  if (strcmp(death, "owner-fault") == 0) {
    CUdeviceptr nowhere = 64;
    void *arguments[] = {&nowhere};
    launch(functionOf(loadModule(kernels), "writeAt"), 1, 1, 0, NULL, arguments);
    result("the owner's kernel", errorName(cuCtxSynchronize()));
    result("the owner's context after that", contents(memory));
    fflush(stdout);
    _exit(0);
  }
  if (strcmp(death, "reader-reading") != 0) pause();
}

static void survive(CUdeviceptr memory, double freeBefore, CUdeviceptr target) {
  char text[100];
  if (target != 0) {
    const double start = milliseconds();
    result("the survivor's kernel that was running", errorName(cuCtxSynchronize()));
    snprintf(text, sizeof text, "%.0f ms more", milliseconds() - start);
    result("it took", text);
    result("what it read", contents(target));
  }
  result("memory after the death", contents(memory));
  fillFreeMemory();
  result("memory after all that is free was written", contents(memory));
  snprintf(text, sizeof text, "%+.0f MB", freeMegabytes() - freeBefore);
  result("free memory since before the death", text);
  if (sharesDescriptor) result("unmapping", errorName(cuMemUnmap(memory, words * 4ull)));
  else result("closing", errorName(cuIpcCloseMemHandle(memory)));
  snprintf(text, sizeof text, "%+.0f MB", freeMegabytes() - freeBefore);
  result("free memory after that", text);
  CUdeviceptr own;
  MUST(cuMemAlloc(&own, words * 4ull));
  MUST(cuMemsetD32(own, pattern, words));
  result("the survivor's own memory", contents(own));
}

int main(int count, char **given) {
  if (count != 4) {
    fprintf(stderr, "peerDeath ipc|descriptor owner-idle|owner-reading|owner-fault|reader-reading KERNELS.ptx\n");
    return 2;
  }
  const char *death = given[2];
  const int readerDies = strcmp(death, "reader-reading") == 0;
  sharesDescriptor = strcmp(given[1], "descriptor") == 0;
  kernels = given[3];
  part = "peer death";
  snprintf(label, sizeof label, "%s, %s", given[1], death);
  int sockets[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) != 0) return 1;
  loadDriver();
  const pid_t child = fork();  // before the driver starts: a forked process cannot use its parent's
  close(sockets[child == 0 ? 0 : 1]);
  if (child == 0) {
    if (!readerDies) {
      own(sockets[1], death);
      return 0;
    }
    startDevice();
    CUdeviceptr memory = openShared(sockets[1]);
    readForLong(memory);
    sendBytes(sockets[1], "r", 1, -1);
    pause();
  }
  startDevice();
  CUdeviceptr memory, target = 0;
  if (readerDies) {
    memory = share(sockets[0]);
    char word;
    receiveBytes(sockets[0], &word, 1);
  } else {
    memory = openShared(sockets[0]);
    result("memory before the death", contents(memory));
    if (strcmp(death, "owner-reading") == 0) target = readForLong(memory);
    if (strcmp(death, "owner-fault") == 0) sendBytes(sockets[0], "r", 1, -1);
  }
  const double freeBefore = freeMegabytes();
  int status;
  if (strcmp(death, "owner-fault") != 0) kill(child, SIGKILL);
  waitpid(child, &status, 0);
  if (!readerDies) {
    survive(memory, freeBefore, target);
    return 0;
  }
  result("the owner's memory after the death", contents(memory));
  fillFreeMemory();
  result("the owner's memory after all that is free was written", contents(memory));
  return 0;
}
