// The kernels as host code; including them registers them with the emulator.
#include "../kernels/pintle.hip"
