/* ctx: AArch64, AAPCS64.
 *
 * A suspended context is a frame on its own stack and nothing else; ctx.sp
 * is the frame's lowest address:
 *
 *     sp + 0    x29, x30: a frame record; x30 is the return address of the
 *               start or swap that suspended it
 *        + 16   x19 to x28
 *        + 96   d8 to d15: of the vector registers, their low halves are the
 *               callee's to save
 *        + 160  FPCR (8 bytes), unused (8)
 *
 * Without COIR__FPU_STATE the last 16 bytes are missing. Start and swap leave
 * the same frame, so that one CFI state describes both sides of the
 * instruction that exchanges the stack pointers.
 *
 * FPCR is written only if it differs: a write waits for the instructions
 * before it. Return addresses are not signed. A resume always ends in `ret`:
 * a jump to behind a call would need a landing pad there under BTI. */
#include "coir_config.h"

#if COIR__FPU_STATE
#define FRAME_SIZE 176
#else
#define FRAME_SIZE 160
#endif
#define FPCR_AT 160

    .text

.macro save reg1, reg2, at
    stp     \reg1, \reg2, [sp, #\at]
    .cfi_rel_offset \reg1, \at
    .cfi_rel_offset \reg2, \at + 8
.endm

.macro described reg1, reg2, at
    .cfi_offset \reg1, \at - FRAME_SIZE
    .cfi_offset \reg2, \at + 8 - FRAME_SIZE
.endm

/* Suspend: fill the frame. With COIR__FPU_STATE it leaves FPCR in x10. */
.macro save_frame
    sub     sp, sp, #FRAME_SIZE
    .cfi_adjust_cfa_offset FRAME_SIZE
    save    x29, x30, 0
    save    x19, x20, 16
    save    x21, x22, 32
    save    x23, x24, 48
    save    x25, x26, 64
    save    x27, x28, 80
    save    d8, d9, 96
    save    d10, d11, 112
    save    d12, d13, 128
    save    d14, d15, 144
#if COIR__FPU_STATE
    mrs     x10, fpcr
    str     x10, [sp, #FPCR_AT]
#endif
.endm

/* Resume the frame at sp, but for FPCR and the return. */
.macro restore_frame
    /* The frame stays whole until sp moves, and so does its description. */
    ldp     x29, x30, [sp]
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     d8, d9, [sp, #96]
    ldp     d10, d11, [sp, #112]
    ldp     d12, d13, [sp, #128]
    ldp     d14, d15, [sp, #144]
    add     sp, sp, #FRAME_SIZE
    .cfi_def_cfa_offset 0
    .irp    reg, x19, x20, x21, x22, x23, x24, x25, x26, x27, x28, x29, x30
    .cfi_restore \reg
    .endr
    .irp    reg, d8, d9, d10, d11, d12, d13, d14, d15
    .cfi_restore \reg
    .endr
.endm

/* void *coir_ctx_swap(coir_ctx *from, coir_ctx *to, void *value) */
    .globl  coir_ctx_swap
    .type   coir_ctx_swap, %function
    .p2align 6
coir_ctx_swap:
    .cfi_startproc
    hint    #34 /* bti c */
    ldr     x9, [x1]
    save_frame
    mov     x11, sp
    str     x11, [x0]
    mov     x0, x2
    mov     sp, x9
    /* Another stack, the same frame: the CFI stays right. */
#if COIR__FPU_STATE
    ldr     x11, [sp, #FPCR_AT]
    cmp     x10, x11
    b.ne    .Lload_fpcr
.Lfpcr_loaded:
#endif
    .cfi_remember_state
    restore_frame
    ret
#if COIR__FPU_STATE
.Lload_fpcr:
    .cfi_restore_state
    msr     fpcr, x11
    b       .Lfpcr_loaded
#endif
    .cfi_endproc
    .size   coir_ctx_swap, . - coir_ctx_swap

/* void *coir_ctx_start(coir_ctx *from, void *stack_top,
 *                      coir_ctx_fn fn, void *arg) */
    .globl  coir_ctx_start
    .type   coir_ctx_start, %function
    .p2align 4
coir_ctx_start:
    .cfi_startproc
    hint    #34 /* bti c */
    save_frame
    mov     x11, sp
    str     x11, [x0]
    and     x9, x1, #-16
    mov     x0, x3
    .cfi_remember_state
    mov     sp, x9
    /* From here on nothing lies above: unwinders end. */
    .cfi_def_cfa sp, 0
    .cfi_undefined x30
    .cfi_undefined x29
    .irp    reg, x19, x20, x21, x22, x23, x24, x25, x26, x27, x28
    .cfi_same_value \reg
    .endr
    .irp    reg, d8, d9, d10, d11, d12, d13, d14, d15
    .cfi_same_value \reg
    .endr
    mov     x29, xzr /* the end of the chain of frame records */
    blr     x2
    /* The body has returned the context that goes on; nothing of its own is
     * kept. All calls since the start are matched by their returns, so that,
     * if its starter goes on, this `ret` and all above it are predicted. */
    ldr     x9, [x0]
    mov     x0, xzr
    mov     sp, x9
    .cfi_restore_state
#if COIR__FPU_STATE
    ldr     x11, [sp, #FPCR_AT]
    msr     fpcr, x11
#endif
    restore_frame
    ret
    .cfi_endproc
    .size   coir_ctx_start, . - coir_ctx_start

/* int coir__ctx_beneath(const coir_ctx *ctx, void (*fn)(void *), void *arg)
 * The call of `fn` is described as if it came from where the context was
 * suspended: an unwinder in it goes on with the context's frames. */
    .globl  coir__ctx_beneath
    .hidden coir__ctx_beneath
    .type   coir__ctx_beneath, %function
    .p2align 4
coir__ctx_beneath:
    .cfi_startproc
    hint    #34 /* bti c */
    stp     x29, x30, [sp, #-32]!
    .cfi_adjust_cfa_offset 32
    .cfi_rel_offset x29, 0
    .cfi_rel_offset x30, 8
    str     x19, [sp, #16]
    .cfi_rel_offset x19, 16
    ldr     x19, [x0]
    mov     x0, x2
    .cfi_remember_state
    .cfi_def_cfa x19, FRAME_SIZE
    described x29, x30, 0
    described x19, x20, 16
    described x21, x22, 32
    described x23, x24, 48
    described x25, x26, 64
    described x27, x28, 80
    described d8, d9, 96
    described d10, d11, 112
    described d12, d13, 128
    described d14, d15, 144
    blr     x1
    .cfi_restore_state
    mov     w0, #1
    ldr     x19, [sp, #16]
    .cfi_restore x19
    ldp     x29, x30, [sp], #32
    .cfi_adjust_cfa_offset -32
    .cfi_restore x29
    .cfi_restore x30
    ret
    .cfi_endproc
    .size   coir__ctx_beneath, . - coir__ctx_beneath

/* const char *coir_ctx_backend(void) */
    .globl  coir_ctx_backend
    .type   coir_ctx_backend, %function
    .p2align 4
coir_ctx_backend:
    .cfi_startproc
    hint    #34 /* bti c */
    adrp    x0, .Lbackend
    add     x0, x0, :lo12:.Lbackend
    ret
    .cfi_endproc
    .size   coir_ctx_backend, . - coir_ctx_backend

    .section .rodata.str1.1, "aMS", %progbits, 1
.Lbackend:
    .string "aarch64_aapcs64"

/* Indirect branches land on pads: announce BTI. */
    .section .note.gnu.property, "a", %note
    .p2align 3
    .long   4          /* size of the name */
    .long   16         /* size of the descriptor */
    .long   5          /* NT_GNU_PROPERTY_TYPE_0 */
    .string "GNU"
    .long   0xc0000000 /* GNU_PROPERTY_AARCH64_FEATURE_1_AND */
    .long   4
    .long   1          /* GNU_PROPERTY_AARCH64_FEATURE_1_BTI */
    .long   0

    .section .note.GNU-stack, "", %progbits
