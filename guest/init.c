// SPDX-License-Identifier: GPL-2.0-or-later
// The guest's process 1: mounts what Linux needs, then runs one command and powers off, or gives
// a shell on the console and powers off when it ends.
//
// A C program and not a script for two reasons. A script forks and executes BusyBox for every
// mount, some twenty million guest instructions before the command starts; this takes a tenth
// of that. And the end of the output must be known to have left the machine before the power goes,
// which takes tcdrain(), for which BusyBox has no command.
//
// The protocol with `perfvisor run --exec` (guest/README.md): /perfvisor/command and
// /perfvisor/token in the initial file system; output on /dev/ttyS1 between two lines of its own.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char kCommandFile[] = "/perfvisor/command";
static const char kTokenFile[] = "/perfvisor/token";
static const char kMarksFile[] = "/perfvisor/marks";
static const char kExpected[] = "perfvisor.exec";
static const char kOutputPort[] = "/dev/ttyS1";
enum { kRecordSeparator = 0x1e, kCannotRun = 126, kSignalBase = 128 };

static void say(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    dprintf(STDERR_FILENO, "init: ");
    vdprintf(STDERR_FILENO, format, arguments);
    dprintf(STDERR_FILENO, "\n");
    va_end(arguments);
}

static void mount_or_say(const char* type, const char* where, const char* options) {
    mkdir(where, 0755);
    if (mount(type, where, type, MS_NOSUID, options) != 0) {
        say("cannot mount %s on %s: %s", type, where, strerror(errno));
    }
}

static void write_setting(const char* path, const char* value) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0) {
        say("cannot write %s: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
}

/// The whole of a small file as a string, with one final newline taken off; null where there is
/// no such file. The caller frees it.
static char* read_file(const char* path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return NULL;
    }
    char* text = calloc(1, (size_t)status.st_size + 1);
    if (text != NULL) {
        ssize_t length = read(fd, text, (size_t)status.st_size);
        if (length > 0 && text[length - 1] == '\n') {
            text[length - 1] = '\0';
        }
    }
    close(fd);
    return text;
}

static void set_up_machine(void) {
    mount_or_say("devtmpfs", "/dev", "mode=0755");
    int console = open("/dev/console", O_RDWR | O_NOCTTY);
    for (int fd = STDIN_FILENO; console >= 0 && fd <= STDERR_FILENO; ++fd) {
        dup2(console, fd);
    }
    if (console > STDERR_FILENO) {
        close(console);
    }
    mount_or_say("proc", "/proc", NULL);
    mount_or_say("sysfs", "/sys", NULL);
    mount_or_say("devpts", "/dev/pts", "mode=0620,ptmxmode=0666");
    mount_or_say("tmpfs", "/dev/shm", "mode=1777");
    mount_or_say("tmpfs", "/tmp", "mode=1777");
    // Everyone may use every counter and see the kernel's symbols: this guest is there for that.
    write_setting("/proc/sys/kernel/perf_event_paranoid", "-1");
    write_setting("/proc/sys/kernel/kptr_restrict", "0");
    sethostname("perfvisor", strlen("perfvisor"));
}

static void set_up_environment(const char* terminal) {
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("HOME", "/root", 1);
    setenv("USER", "root", 1);
    setenv("SHELL", "/bin/sh", 1);
    setenv("TERM", terminal, 1);
    chdir("/root");
}

static _Noreturn void end_machine(int how) {
    sync();
    reboot(how);
    say("the kernel refused to end the machine: %s", strerror(errno));
    for (;;) {
        pause();
    }
}

static int shell_status(int status) {
    return WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Reaps children until `main_child` ends and returns its status as the shell counts it. BusyBox's
/// poweroff, halt and reboot send the signals that end the machine here and now.
static int wait_for(pid_t main_child, int signals) {
    for (;;) {
        struct signalfd_siginfo signal = {0};
        if (read(signals, &signal, sizeof signal) != sizeof signal) {
            say("cannot wait for signals: %s", strerror(errno));
            sleep(1);
        }
        switch (signal.ssi_signo) {
            case SIGUSR1:
                end_machine(RB_HALT_SYSTEM);
            case SIGUSR2:
                end_machine(RB_POWER_OFF);
            case SIGTERM:
                end_machine(RB_AUTOBOOT);
            default:
                break;
        }
        int status;
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
            if (pid == main_child) {
                return shell_status(status);
            }
        }
    }
}

/// The port as a pipe for bytes: nothing translated, nothing echoed, no flow control.
static int open_output_port(void) {
    int port = open(kOutputPort, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios settings;
    if (port < 0 || tcgetattr(port, &settings) != 0) {
        say("cannot open %s: %s", kOutputPort, strerror(errno));
        return -1;
    }
    cfmakeraw(&settings);
    settings.c_cflag |= CLOCAL;
    settings.c_cflag &= ~(tcflag_t)CRTSCTS;
    cfsetspeed(&settings, B115200);
    tcsetattr(port, TCSANOW, &settings);
    return port;
}

/// What a command finds: its session, descriptors and environment.
static void set_up_command(int port) {
    setsid();
    int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    dup2(port, STDOUT_FILENO);
    dup2(port, STDERR_FILENO);
    if (nothing > STDERR_FILENO) {
        close(nothing);
    }
    // The port is a terminal to isatty(), but nobody is there to turn a page.
    set_up_environment("dumb");
    setenv("PAGER", "cat", 1);
}

static _Noreturn void become_command(const char* command, int port) {
    set_up_command(port);
    execl("/bin/sh", "sh", "-c", command, (char*)NULL);
    dprintf(STDERR_FILENO, "cannot run the shell: %s\n", strerror(errno));
    _exit(kCannotRun);
}

// ---- A command that is counted from outside (perfvisor run --stat) ------------------------------
//
// What is counted begins with the system call behind one mark and ends before the next: execve of
// the command, and wait4's return once it has ended. A mark is a data acquisition message, a write
// to DDAM, which on a board goes out of the trace port. It stands right beside its system call, so
// that no instruction of init's is counted in user mode.

struct Marks {
    unsigned open, close;
};

/// DDAM written, then the system call.
static long mark_then_call(unsigned mark, long number, const void* a, const void* b,
                           const void* c) {
    register long r0 __asm__("r0") = number;
    register long r3 __asm__("r3") = (long)a;
    register long r4 __asm__("r4") = (long)b;
    register long r5 __asm__("r5") = (long)c;
    __asm__ volatile("mtspr 576,%4\n\tsc"
                     : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5)
                     : "r"(mark)
                     : "r6", "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "xer", "memory");
    return r3;
}

/// wait4(child, &status, 0, NULL), then DDAM written.
static void wait_then_mark(pid_t child, int* status, unsigned mark) {
    register long r0 __asm__("r0") = SYS_wait4;
    register long r3 __asm__("r3") = child;
    register long r4 __asm__("r4") = (long)status;
    register long r5 __asm__("r5") = 0;
    register long r6 __asm__("r6") = 0;
    __asm__ volatile("sc\n\tmtspr 576,%5"
                     : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6)
                     : "r"(mark)
                     : "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "xer", "memory");
}

/// The words of a command that needs no shell: no quotes, variables, redirections or lists. NULL
/// where it does. At most `most`, the NULL behind them included.
static char** plain_words(const char* command, char** words, size_t most) {
    if (command[strspn(command,
                       " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789_./+,:@%-")] != '\0') {
        return NULL;
    }
    char* copy = strdup(command);
    size_t count = 0;
    for (char* word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        if (count + 1 >= most) {
            return NULL;
        }
        words[count++] = word;
    }
    words[count] = NULL;
    return count > 0 ? words : NULL;
}

/// The program a shell would find, or NULL.
static const char* find_program(const char* name) {
    static char path[4096];
    if (strchr(name, '/') != NULL) {
        return access(name, X_OK) == 0 ? name : NULL;
    }
    char* directories = strdup(getenv("PATH"));
    for (char* one = strtok(directories, ":"); one != NULL; one = strtok(NULL, ":")) {
        snprintf(path, sizeof path, "%s/%s", one, name);
        if (access(path, X_OK) == 0) {
            return path;
        }
    }
    return NULL;
}

static _Noreturn void become_counted_command(const char* command, int port, unsigned mark) {
    enum { kMostWords = 256, kRestMilliseconds = 10 };
    static char* words[kMostWords];
    static const char* shell[] = {"sh", "-c", NULL, NULL};
    set_up_command(port);
    shell[2] = command;
    const char* program = plain_words(command, words, kMostWords) ? find_program(words[0]) : NULL;
    const void* arguments = program != NULL ? (const void*)words : (const void*)shell;
    // Until process 1 rests in wait4, and the kernel's work for the fork is done.
    poll(NULL, 0, kRestMilliseconds);
    mark_then_call(mark, SYS_execve, program != NULL ? program : "/bin/sh", arguments, environ);
    dprintf(STDERR_FILENO, "cannot run %s\n", program != NULL ? program : "the shell");
    _exit(kCannotRun);
}

/// The command's status as wait4 gives it. A marked command that cannot be run leaves the counts
/// open, which perfvisor reports.
static int run_counted(const char* command, int port, const sigset_t* mask, struct Marks marks) {
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_UNBLOCK, mask, NULL);
        become_counted_command(command, port, marks.open);
    }
    int status = kCannotRun << 8;
    if (child > 0) {
        wait_then_mark(child, &status, marks.close);
    }
    return status;
}

/// `marks` is NULL where the command is not counted.
static void run_command(const char* command, const char* token, const struct Marks* marks,
                        const sigset_t* mask, int signals) {
    int port = open_output_port();
    if (port < 0) {
        return;
    }
    dprintf(port, "%cperfvisor-exec %s\n", kRecordSeparator, token);
    int status = kCannotRun;
    if (marks != NULL) {
        status = shell_status(run_counted(command, port, mask, *marks));
    } else {
        pid_t child = fork();
        if (child == 0) {
            sigprocmask(SIG_UNBLOCK, mask, NULL);
            become_command(command, port);
        }
        status = child > 0 ? wait_for(child, signals) : kCannotRun;
    }
    // What the command left running must not write after the trailer.
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0) {
    }
    tcdrain(port);
    dprintf(port, "%cperfvisor-exit %s %d\n", kRecordSeparator, token, status);
    tcdrain(port);
}

/// Whether the kernel's command line says that there is a command.
static bool command_expected(void) {
    static char line[4096];
    int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, line, sizeof line - 1);
    line[length > 0 ? length : 0] = '\0';
    for (char* word = strtok(line, " \n"); word != NULL; word = strtok(NULL, " \n")) {
        if (strcmp(word, kExpected) == 0) {
            return true;
        }
    }
    return false;
}

/// The terminal behind /dev/console: the console itself cannot be a controlling terminal, and
/// without one Ctrl-C does nothing.
static int open_console_terminal(void) {
    char* active = read_file("/sys/class/tty/console/active");
    const char* last = active == NULL ? NULL : strrchr(active, ' ');
    const char* name = last != NULL ? last + 1 : active;
    char path[64] = "/dev/console";
    if (name != NULL && *name != '\0') {
        snprintf(path, sizeof path, "/dev/%s", name);
    }
    free(active);
    return open(path, O_RDWR);
}

static _Noreturn void become_shell(void) {
    setsid();
    int terminal = open_console_terminal();
    if (terminal >= 0) {
        ioctl(terminal, TIOCSCTTY, 0);
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
            dup2(terminal, fd);
        }
        if (terminal > STDERR_FILENO) {
            close(terminal);
        }
    }
    set_up_environment("vt100");
    execl("/bin/sh", "-sh", (char*)NULL);
    say("cannot run the shell: %s", strerror(errno));
    _exit(kCannotRun);
}

static void run_shell(const sigset_t* mask, int signals) {
    pid_t child = fork();
    if (child == 0) {
        sigprocmask(SIG_UNBLOCK, mask, NULL);
        become_shell();
    }
    if (child > 0) {
        wait_for(child, signals);
    }
}

int main(void) {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    // Not sigwaitinfo(): glibc makes of it a call with a 32-bit time, which a kernel need not have.
    int signals = signalfd(-1, &mask, SFD_CLOEXEC);

    set_up_machine();
    char* command = read_file(kCommandFile);
    char* token = read_file(kTokenFile);
    if (command != NULL && token != NULL) {
        // The command shall not find the token: its own output could then pass for the trailer.
        unlink(kCommandFile);
        unlink(kTokenFile);
        struct Marks marks;
        char* marks_text = read_file(kMarksFile);
        unlink(kMarksFile);
        rmdir("/perfvisor");
        const bool counted =
            marks_text != NULL && sscanf(marks_text, "%x %x", &marks.open, &marks.close) == 2;
        run_command(command, token, counted ? &marks : NULL, &mask, signals);
    } else if (command_expected()) {
        say("the initial file system has no %s: the kernel has not unpacked all of it",
            kCommandFile);
    } else {
        run_shell(&mask, signals);
    }
    end_machine(RB_POWER_OFF);
}
