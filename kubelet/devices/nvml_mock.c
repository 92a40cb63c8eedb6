/* A libnvidia-ml.so.1 without a driver: it answers from a state file that Python writes (mock_state.py).
 *
 * Who uses it: the kubelet through the real pynvml, programs in containers, and any other NVML client.
 * Where the state is: $MINIKUBE_PY_NVML_STATE, else /usr/local/nvidia/mock/state. With NVIDIA_VISIBLE_DEVICES set, only those
 * cards exist, in that order: what the NVIDIA container runtime achieves by leaving out device nodes.
 * Invariant: `struct state` is laid out as mock_state.py says; the file is only ever changed in place.
 * Functions that are missing make pynvml raise NVMLError_FunctionNotFound, as an old driver would.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST_CARDS 64
#define MOST_EVENTS 64

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, ARGUMENT_VERSION_MISMATCH = 25, UNKNOWN = 999
};

#pragma pack(push, 1)
struct card {
    char name[96], uuid[96], bus_id[32], serial[32];
    uint64_t memory_total, memory_used;
    uint32_t minor, compute_major, compute_minor, architecture, brand;
    int32_t numa;
    uint32_t domain, bus, device, pci_id;
    uint32_t temperature, power, power_limit, util_gpu, util_memory, sm_clock, memory_clock;
    uint32_t mig, lost;
};
struct event {
    uint64_t sequence, type, data;
    uint32_t card, unused;
};
struct state {
    char magic[8];
    uint32_t count;
    int32_t cuda;
    char driver[80], nvml[80];
    uint64_t started, fired, last_event;
    struct event events[MOST_EVENTS];
    struct card cards[MOST_CARDS];
};
#pragma pack(pop)

struct pci_info {
    char bus_id_legacy[16];
    unsigned int domain, bus, device, pci_id, subsystem_id;
    char bus_id[32];
};
struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned int version; unsigned long long total, reserved, free, used; };
struct utilization { unsigned int gpu, memory; };
struct event_data { void *device; unsigned long long type, data; unsigned int gpu_instance, compute_instance; };
struct event_set { uint64_t seen, types; uint64_t cards; };

static struct state *state;
static struct card *visible[MOST_CARDS];
static unsigned int visible_count;
static int references;

static void choose_visible(void) {
    const char *wanted = getenv("NVIDIA_VISIBLE_DEVICES");
    visible_count = 0;
    if (wanted && (!strcmp(wanted, "void") || !strcmp(wanted, "none") || !*wanted)) return;
    if (!wanted || !strcmp(wanted, "all")) {
        for (uint32_t i = 0; i < state->count && i < MOST_CARDS; i++) visible[visible_count++] = &state->cards[i];
        return;
    }
    char list[8192];
    snprintf(list, sizeof list, "%s", wanted);
    for (char *rest = list, *one; (one = strsep(&rest, ",")) && visible_count < MOST_CARDS;)
        for (uint32_t i = 0; i < state->count && i < MOST_CARDS; i++) {
            char index[12];
            snprintf(index, sizeof index, "%u", i);
            if (!strcmp(one, state->cards[i].uuid) || !strcmp(one, index)) visible[visible_count++] = &state->cards[i];
        }
}

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    if (references++) return SUCCESS;
    const char *path = getenv("MINIKUBE_PY_NVML_STATE");
    int fd = open(path && *path ? path : "/usr/local/nvidia/mock/state", O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) || (size_t)info.st_size < sizeof *state) {
        if (fd >= 0) close(fd);
        references = 0;
        return DRIVER_NOT_LOADED;
    }
    void *mapped = mmap(NULL, sizeof *state, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED || memcmp(mapped, "MKGPU01", 8)) {
        references = 0;
        return DRIVER_NOT_LOADED;
    }
    state = mapped;
    choose_visible();
    return SUCCESS;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlInit(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) {
    if (!references) return UNINITIALIZED;
    if (--references == 0) {
        munmap(state, sizeof *state);
        state = NULL;
        visible_count = 0;
    }
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case ARGUMENT_VERSION_MISMATCH: return "Argument Version Mismatch";
    default: return "Unknown Error";
    }
}

static int text(const char *from, char *to, unsigned int size) {
    if (!state) return UNINITIALIZED;
    if (!to) return INVALID_ARGUMENT;
    if (strlen(from) + 1 > size) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}

/* Every call about a card begins here: the handle must be one of ours, and the card must still answer. */
static int check(const struct card *card, const void *out) {
    if (!state) return UNINITIALIZED;
    if (card < state->cards || card >= state->cards + MOST_CARDS || !out) return INVALID_ARGUMENT;
    return card->lost ? GPU_IS_LOST : SUCCESS;
}

int nvmlSystemGetDriverVersion(char *out, unsigned int size) { return state ? text(state->driver, out, size) : UNINITIALIZED; }
int nvmlSystemGetNVMLVersion(char *out, unsigned int size) { return state ? text(state->nvml, out, size) : UNINITIALIZED; }
int nvmlSystemGetCudaDriverVersion(int *out) {
    if (!state) return UNINITIALIZED;
    *out = state->cuda;
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion_v2(int *out) { return nvmlSystemGetCudaDriverVersion(out); }

int nvmlDeviceGetCount_v2(unsigned int *out) {
    if (!state) return UNINITIALIZED;
    *out = visible_count;
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, struct card **out) {
    if (!state) return UNINITIALIZED;
    if (index >= visible_count || !out) return INVALID_ARGUMENT;
    if (visible[index]->lost) return GPU_IS_LOST;
    *out = visible[index];
    return SUCCESS;
}
static int find(const char *wanted, size_t field, struct card **out) {
    if (!state) return UNINITIALIZED;
    if (!wanted || !out) return INVALID_ARGUMENT;
    for (unsigned int i = 0; i < visible_count; i++)
        if (!strcasecmp(wanted, (char *)visible[i] + field)) {
            if (visible[i]->lost) return GPU_IS_LOST;
            *out = visible[i];
            return SUCCESS;
        }
    return NOT_FOUND;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, struct card **out) { return find(uuid, offsetof(struct card, uuid), out); }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, struct card **out) { return find(id, offsetof(struct card, bus_id), out); }

int nvmlDeviceGetName(struct card *card, char *out, unsigned int size) {
    int code = check(card, out);
    return code ? code : text(card->name, out, size);
}
int nvmlDeviceGetUUID(struct card *card, char *out, unsigned int size) {
    int code = check(card, out);
    return code ? code : text(card->uuid, out, size);
}
int nvmlDeviceGetSerial(struct card *card, char *out, unsigned int size) {
    int code = check(card, out);
    return code ? code : text(card->serial, out, size);
}
int nvmlDeviceGetIndex(struct card *card, unsigned int *out) {
    int code = check(card, out);
    if (code) return code;
    for (unsigned int i = 0; i < visible_count; i++)
        if (visible[i] == card) {
            *out = i;
            return SUCCESS;
        }
    return NOT_FOUND;
}

#define NUMBER(function, type, field)               \
    int function(struct card *card, type *out) {    \
        int code = check(card, out);                \
        if (!code) *out = (type)card->field;        \
        return code;                                \
    }
NUMBER(nvmlDeviceGetMinorNumber, unsigned int, minor)
NUMBER(nvmlDeviceGetBrand, int, brand)
NUMBER(nvmlDeviceGetArchitecture, unsigned int, architecture)
NUMBER(nvmlDeviceGetPowerUsage, unsigned int, power)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, unsigned int, power_limit)
NUMBER(nvmlDeviceGetPowerManagementLimit, unsigned int, power_limit)

int nvmlDeviceGetNumaNodeId(struct card *card, int *out) {
    int code = check(card, out);
    if (code) return code;
    if (card->numa < 0) return NOT_SUPPORTED;
    *out = card->numa;
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(struct card *card, int *major, int *minor) {
    int code = check(card, major);
    if (code) return code;
    *major = (int)card->compute_major;
    *minor = (int)card->compute_minor;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(struct card *card, struct memory *out) {
    int code = check(card, out);
    if (code) return code;
    out->total = card->memory_total;
    out->used = card->memory_used;
    out->free = card->memory_total - card->memory_used;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(struct card *card, struct memory_v2 *out) {
    int code = check(card, out);
    if (code) return code;
    if (out->version != 0x02000028) return ARGUMENT_VERSION_MISMATCH;
    out->total = card->memory_total;
    out->reserved = 0;
    out->used = card->memory_used;
    out->free = card->memory_total - card->memory_used;
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(struct card *card, struct pci_info *out) {
    int code = check(card, out);
    if (code) return code;
    memset(out, 0, sizeof *out);
    snprintf(out->bus_id_legacy, sizeof out->bus_id_legacy, "%04X:%02X:%02X.0", card->domain, card->bus, card->device);
    snprintf(out->bus_id, sizeof out->bus_id, "%s", card->bus_id);
    out->domain = card->domain;
    out->bus = card->bus;
    out->device = card->device;
    out->pci_id = card->pci_id;
    out->subsystem_id = card->pci_id;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(struct card *card, int sensor, unsigned int *out) {
    int code = check(card, out);
    if (code) return code;
    if (sensor != 0) return INVALID_ARGUMENT;
    *out = card->temperature;
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(struct card *card, struct utilization *out) {
    int code = check(card, out);
    if (code) return code;
    if (card->mig) return NOT_SUPPORTED;
    out->gpu = card->util_gpu;
    out->memory = card->util_memory;
    return SUCCESS;
}
int nvmlDeviceGetClockInfo(struct card *card, int kind, unsigned int *out) {
    int code = check(card, out);
    if (code) return code;
    if (kind < 0 || kind > 3) return INVALID_ARGUMENT;
    *out = kind == 2 ? card->memory_clock : card->sm_clock;
    return SUCCESS;
}
int nvmlDeviceGetMigMode(struct card *card, unsigned int *current, unsigned int *pending) {
    int code = check(card, current);
    if (code) return code;
    /* compute capability 6 to 7 and consumer cards have no MIG */
    if (card->compute_major < 8 || (card->compute_major == 8 && card->compute_minor != 0)) return NOT_SUPPORTED;
    *current = *pending = card->mig;
    return SUCCESS;
}
int nvmlDeviceGetMaxMigDeviceCount(struct card *card, unsigned int *out) {
    unsigned int current, pending;
    int code = nvmlDeviceGetMigMode(card, &current, &pending);
    *out = code ? 0 : 7;
    return code == NOT_SUPPORTED ? SUCCESS : code;
}
int nvmlDeviceGetMigDeviceHandleByIndex(struct card *card, unsigned int index, void **out) {
    (void)index;
    int code = check(card, out);
    return code ? code : NOT_FOUND;
}
int nvmlDeviceIsMigDeviceHandle(struct card *card, unsigned int *out) {
    int code = check(card, out);
    if (!code) *out = 0;
    return code;
}

int nvmlEventSetCreate(struct event_set **out) {
    if (!state) return UNINITIALIZED;
    struct event_set *set = calloc(1, sizeof *set);
    if (!set) return UNKNOWN;
    set->seen = __atomic_load_n(&state->last_event, __ATOMIC_ACQUIRE);
    *out = set;
    return SUCCESS;
}
int nvmlDeviceGetSupportedEventTypes(struct card *card, unsigned long long *out) {
    int code = check(card, out);
    if (!code) *out = 0x8 | 0x2 | 0x1;
    return code;
}
int nvmlDeviceRegisterEvents(struct card *card, unsigned long long types, struct event_set *set) {
    int code = check(card, set);
    if (code) return code;
    set->types |= types;
    set->cards |= 1ull << (card - state->cards);
    return SUCCESS;
}
int nvmlEventSetWait_v2(struct event_set *set, struct event_data *out, unsigned int timeout_ms) {
    if (!state) return UNINITIALIZED;
    if (!set || !out) return INVALID_ARGUMENT;
    struct timespec step = {0, 50 * 1000 * 1000};
    for (long left = timeout_ms;; left -= 50) {
        uint64_t last = __atomic_load_n(&state->last_event, __ATOMIC_ACQUIRE);
        if (last > set->seen + MOST_EVENTS) set->seen = last - MOST_EVENTS;
        while (set->seen < last) {
            struct event *event = &state->events[++set->seen % MOST_EVENTS];
            if (event->sequence != set->seen || !(event->type & set->types) || !(set->cards >> event->card & 1)) continue;
            memset(out, 0, sizeof *out);
            out->device = &state->cards[event->card];
            out->type = event->type;
            out->data = event->data;
            out->gpu_instance = out->compute_instance = 0xFFFFFFFFu;
            return SUCCESS;
        }
        if (left <= 0) return TIMEOUT;
        nanosleep(&step, NULL);
    }
}
int nvmlEventSetFree(struct event_set *set) {
    free(set);
    return SUCCESS;
}
