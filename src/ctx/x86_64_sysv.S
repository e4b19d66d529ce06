/* ctx: x86-64, System V ABI.
 *
 * A suspended context is a frame on its own stack and nothing else; ctx.sp
 * is the frame's lowest address:
 *
 *     sp + 0   MXCSR (4 bytes), x87 control word (2), unused (2)
 *        + 8   r15
 *        + 16  r14
 *        + 24  r13
 *        + 32  r12
 *        + 40  rbx
 *        + 48  rbp
 *        + 56  return address of the start or swap that suspended it
 *
 * Without COIR__FPU_STATE the first 8 bytes are missing. Start and swap leave
 * the same frame, so that one CFI state describes both sides of the
 * instruction that exchanges the stack pointers.
 *
 * What makes it fast was measured, see docs/design/0001-context-switch.md:
 * - `to` is read before `from` is written, which takes a store-to-load
 *   forwarding out of the chain from one switch to the next.
 * - The control words are reloaded without looking whether they differ: the
 *   comparison costs more than a reload of the same value.
 * - A context that was suspended at the place this one is suspended at, which
 *   is how a library calls us, is resumed by `ret`: it pops the prediction
 *   that our own call pushed, and the returns further up stay predicted.
 *   Elsewhere `ret` would surely be mispredicted, so it is a jump. (`notrack`
 *   since there is no endbr64 behind a call.) */
#include "coir_config.h"

#if COIR__FPU_STATE
#define FPU_SIZE 8
#else
#define FPU_SIZE 0
#endif

    .text

.macro save reg
    pushq   \reg
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset \reg, 0
.endm

.macro restore reg
    popq    \reg
    .cfi_adjust_cfa_offset -8
    .cfi_restore \reg
.endm

/* Suspend: push all of the frame below the return address. */
.macro save_frame
    save    %rbp
    save    %rbx
    save    %r12
    save    %r13
    save    %r14
    save    %r15
#if COIR__FPU_STATE
    subq    $FPU_SIZE, %rsp
    .cfi_adjust_cfa_offset FPU_SIZE
    stmxcsr (%rsp)
    fnstcw  4(%rsp)
#endif
.endm

/* Resume the frame at %rsp, but for the return. */
.macro restore_frame
#if COIR__FPU_STATE
    ldmxcsr (%rsp)
    fldcw   4(%rsp)
    addq    $FPU_SIZE, %rsp
    .cfi_adjust_cfa_offset -FPU_SIZE
#endif
    restore %r15
    restore %r14
    restore %r13
    restore %r12
    restore %rbx
    restore %rbp
.endm

/* void *coir_ctx_swap(coir_ctx *from, coir_ctx *to, void *value) */
    .globl  coir_ctx_swap
    .type   coir_ctx_swap, @function
    .p2align 6
coir_ctx_swap:
    .cfi_startproc
    endbr64
    movq    (%rsp), %rcx
    movq    (%rsi), %rsi
    save_frame
    movq    %rsp, (%rdi)
    movq    %rdx, %rax
    movq    %rsi, %rsp
    /* Another stack, the same frame: the CFI stays right. */
    restore_frame
    cmpq    %rcx, (%rsp)
    jne     .Lelsewhere
    ret
.Lelsewhere:
    /* Not `pop` and a jump to a register: CFI that says "the return address
     * is in a register" is more than some unwinders know. The red zone keeps
     * it safe below the stack pointer. */
    addq    $8, %rsp
    .cfi_adjust_cfa_offset -8
    notrack jmp *-8(%rsp)
    .cfi_endproc
    .size   coir_ctx_swap, . - coir_ctx_swap

/* void *coir_ctx_start(coir_ctx *from, void *stack_top,
 *                      coir_ctx_fn fn, void *arg) */
    .globl  coir_ctx_start
    .type   coir_ctx_start, @function
    .p2align 4
coir_ctx_start:
    .cfi_startproc
    endbr64
    save_frame
    movq    %rsp, (%rdi)
    andq    $-16, %rsi
    movq    %rcx, %rdi
    .cfi_remember_state
    movq    %rsi, %rsp
    /* From here on nothing lies above: unwinders end. */
    .cfi_def_cfa %rsp, 0
    .cfi_undefined %rip
    .cfi_undefined %rbp
    .cfi_same_value %rbx
    .cfi_same_value %r12
    .cfi_same_value %r13
    .cfi_same_value %r14
    .cfi_same_value %r15
    xorl    %ebp, %ebp /* the end of the chain of frame pointers */
    pushq   $0
    .cfi_adjust_cfa_offset 8
    pushq   $0
    .cfi_adjust_cfa_offset 8
    call    *%rdx
    /* The body has returned the context that goes on; nothing of its own is
     * kept. All calls since the start are matched by their returns, so that,
     * if its starter goes on, this `ret` and all above it are predicted. */
    movq    (%rax), %rsp
    .cfi_restore_state
    xorl    %eax, %eax
    restore_frame
    ret
    .cfi_endproc
    .size   coir_ctx_start, . - coir_ctx_start

/* int coir__ctx_beneath(const coir_ctx *ctx, void (*fn)(void *), void *arg)
 * The call of `fn` is described as if it came from where the context was
 * suspended: an unwinder in it goes on with the context's frames. */
    .globl  coir__ctx_beneath
    .hidden coir__ctx_beneath
    .type   coir__ctx_beneath, @function
    .p2align 4
coir__ctx_beneath:
    .cfi_startproc
    endbr64
    save    %rbx
    movq    (%rdi), %rbx
    movq    %rdx, %rdi
    .cfi_remember_state
    .cfi_def_cfa %rbx, FPU_SIZE + 56
    .cfi_offset %rip, -8
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    .cfi_offset %r12, -32
    .cfi_offset %r13, -40
    .cfi_offset %r14, -48
    .cfi_offset %r15, -56
    call    *%rsi
    .cfi_restore_state
    movl    $1, %eax
    restore %rbx
    ret
    .cfi_endproc
    .size   coir__ctx_beneath, . - coir__ctx_beneath

/* const char *coir_ctx_backend(void) */
    .globl  coir_ctx_backend
    .type   coir_ctx_backend, @function
    .p2align 4
coir_ctx_backend:
    .cfi_startproc
    endbr64
    leaq    .Lbackend(%rip), %rax
    ret
    .cfi_endproc
    .size   coir_ctx_backend, . - coir_ctx_backend

    .section .rodata.str1.1, "aMS", @progbits, 1
.Lbackend:
    .string "x86_64_sysv"

/* Indirect branches land on endbr64: announce IBT. Not SHSTK: the shadow
 * stack is not switched. */
    .section .note.gnu.property, "a", @note
    .p2align 3
    .long   4          /* size of the name */
    .long   16         /* size of the descriptor */
    .long   5          /* NT_GNU_PROPERTY_TYPE_0 */
    .string "GNU"
    .long   0xc0000002 /* GNU_PROPERTY_X86_FEATURE_1_AND */
    .long   4
    .long   1          /* GNU_PROPERTY_X86_FEATURE_1_IBT */
    .long   0

    .section .note.GNU-stack, "", @progbits
