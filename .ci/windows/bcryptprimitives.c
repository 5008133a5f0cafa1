/* Rust's standard library takes its first random numbers from ProcessPrng in bcryptprimitives.dll. Wine 8 has no such library, and
   without it no Rust program starts there. This one asks the generator that Wine does have. For tests under Wine only. */
#include <windows.h>
#include <ntsecapi.h>

#define AT_ONCE 0x01000000

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *bytes, SIZE_T length)
{
    while (length > 0) {
        ULONG part = length < AT_ONCE ? (ULONG)length : AT_ONCE;
        if (!RtlGenRandom(bytes, part))
            return FALSE;
        bytes += part;
        length -= part;
    }
    return TRUE;
}
