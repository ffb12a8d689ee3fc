/* Control of the faults that emu/hip_api.cpp can play, exported by the library beside the HIP entry points. */
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The call named (as "hipMalloc") returns `error` after `after` more that go through, once. hipErrorLaunchFailure and
 * hipErrorIllegalAddress kill the device: from then on every call that touches it returns the same error, until
 * hipDeviceReset or pintle_emu_reset. A launch that fails so does its damage when the stream runs, as on hardware.
 * The environment can name one such fault from the start: PINTLE_EMU_FAIL=hipGraphLaunch:2:719. */
void pintle_emu_fail(const char *call, unsigned after, int error);
/* While on, nothing queued is executed: queries say hipErrorNotReady and synchronising waits. */
void pintle_emu_hang(int on);
/* Bytes of device memory; more than is left fails with hipErrorOutOfMemory. Default 4 GiB. */
void pintle_emu_memory(size_t bytes);
/* The device's instruction set, with features: "gfx1150", which no code is built in for. */
void pintle_emu_isa(const char *name);
/* Calls of a function since the last reset. */
unsigned long pintle_emu_calls(const char *call);
/* Device allocations, host allocations, streams, events, modules and graphs that are alive. */
unsigned long pintle_emu_alive(void);
/* Forgets faults, the hang, the memory limit, the instruction set and the counts; a dead device lives again. */
void pintle_emu_reset(void);

#ifdef __cplusplus
}
#endif
