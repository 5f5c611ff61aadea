;; A detector that does as the first value of its last row says:
;;   0 nothing wrong        1 one finding, evidence n = frames seen
;;   2 trap                 3 loop for ever       4 eat memory, then trap
;;   5 as many findings as the second value says
;;   6 log a thousand lines 7 a finding about a stranger
;;   8 poison its state: every frame after this one traps
;;   9 last words, then trap         10 a message of 100 kB
;;   11 from now on a checkpoint too large      12 a message that is no text
;;   14 log a thousand lines, then work for a while
;;   15 call itself for ever     16 grow its table, then trap
;;   17 a message that claims to be a gigabyte long
;;   18 from now on a checkpoint traps
;; Its state is the count of frames; restore traps on 13 and refuses other
;; sizes than four bytes. Configuration: `r...` is refused, `t...` traps, with
;; `b...` the next binding traps.
(module
  (import "homeostat:plugin/log@0.1.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $frames (mut i32) (i32.const 0))
  (global $save_len (mut i32) (i32.const 4))
  (global $bind_traps (mut i32) (i32.const 0))
  (table $table 1 funcref)
  (func $deep (param i32) (result i32)
    (i32.add (i32.const 1) (call $deep (i32.add (local.get 0) (i32.const 1)))))

  (data (i32.const 1024) "k")
  (data (i32.const 1040) "test.kind")
  (data (i32.const 1056) "workload:a")
  (data (i32.const 1072) "workload:zz")
  (data (i32.const 1088) "seen")
  (data (i32.const 1104) "n")
  (data (i32.const 1120) "homeostat.*")
  (data (i32.const 1136) "no")
  (data (i32.const 1152) "not like this")
  (data (i32.const 1168) "four bytes, please")
  (data (i32.const 1200) "panicked at lib.rs:1")
  ;; One selector: string at 1280.
  (data (i32.const 1280) "\60\04\00\00\0b\00\00\00")

  (func $realloc (export "cabi_realloc")
    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $ptr i32) (local $end i32)
    (if (local.get $old) (then unreachable))
    (local.set $ptr
      (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (local.set $end (i32.add (local.get $ptr) (local.get $size)))
    (block $fits
      (loop $more
        (br_if $fits
          (i32.le_u (local.get $end) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
        (br $more)))
    (global.set $heap (local.get $end))
    (local.get $ptr))

  (func $forget (param i32) (global.set $heap (i32.const 65536)))
  (export "cabi_post_homeostat:plugin/detect@0.1.0#configure" (func $forget))
  (export "cabi_post_homeostat:plugin/detect@0.1.0#bind" (func $forget))
  (export "cabi_post_homeostat:plugin/detect@0.1.0#observe" (func $forget))
  CHECKPOINT_POSTS

  ;; result<_, error> or result<list<string>, error> with an error in it, at 256.
  (func $refused (result i32)
    (i32.store (i32.const 256) (i32.const 1))
    (i32.store (i32.const 260) (i32.const 1136))
    (i32.store (i32.const 264) (i32.const 2))
    (i32.store (i32.const 268) (i32.const 1152))
    (i32.store (i32.const 272) (i32.const 13))
    (i32.const 256))

  (func (export "homeostat:plugin/detect@0.1.0#configure")
    (param $ptr i32) (param $len i32) (result i32)
    (if (local.get $len)
      (then
        (if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const 116)) (then unreachable))
        (if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const 98))
          (then (global.set $bind_traps (i32.const 1))))
        (if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const 114))
          (then (return (call $refused))))))
    (i32.store (i32.const 256) (i32.const 0))
    (i32.store (i32.const 260) (i32.const 1280))
    (i32.store (i32.const 264) (i32.const 1))
    (i32.const 256))

  (func (export "homeostat:plugin/detect@0.1.0#bind")
    (param $ptr i32) (param $len i32) (result i32)
    (if (global.get $bind_traps) (then unreachable))
    (if (i32.eqz (local.get $len)) (then (return (call $refused))))
    (i32.store (i32.const 256) (i32.const 0))
    (i32.const 256))

  ;; One finding at 512, with a series at 600 and one attribute at 608.
  (func $finding (param $target i32) (param $target_len i32)
    (i32.store (i32.const 512) (i32.const 1024))
    (i32.store (i32.const 516) (i32.const 1))
    (i32.store (i32.const 520) (i32.const 1040))
    (i32.store (i32.const 524) (i32.const 9))
    (i32.store (i32.const 528) (local.get $target))
    (i32.store (i32.const 532) (local.get $target_len))
    (i32.store8 (i32.const 536) (i32.const 2))
    (i32.store (i32.const 540) (i32.const 600))
    (i32.store (i32.const 544) (i32.const 1))
    (i32.store (i32.const 548) (i32.const 1088))
    (i32.store (i32.const 552) (i32.const 4))
    (i32.store (i32.const 556) (i32.const 608))
    (i32.store (i32.const 560) (i32.const 1))
    (i32.store (i32.const 600) (i32.const 0))
    (i32.store (i32.const 608) (i32.const 1104))
    (i32.store (i32.const 612) (i32.const 1))
    (i32.store8 (i32.const 616) (i32.const 1))
    (i64.store (i32.const 624) (i64.extend_i32_u (global.get $frames))))

  (func $report (param $ptr i32) (param $len i32) (result i32)
    (i32.store (i32.const 256) (local.get $ptr))
    (i32.store (i32.const 260) (local.get $len))
    (i32.store (i32.const 264) (i32.const 0))
    (i32.store (i32.const 268) (i32.const 0))
    (i32.const 256))

  (func $many (param $count i32) (result i32)
    (local $ptr i32) (local $n i32)
    (call $finding (i32.const 1056) (i32.const 10))
    (local.set $ptr
      (call $realloc (i32.const 0) (i32.const 0) (i32.const 4)
        (i32.mul (local.get $count) (i32.const 52))))
    (loop $next
      (memory.copy
        (i32.add (local.get $ptr) (i32.mul (local.get $n) (i32.const 52)))
        (i32.const 512) (i32.const 52))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (local.get $count))))
    (call $report (local.get $ptr) (local.get $count)))

  (func $flood
    (local $n i32)
    (loop $next
      (call $log (i32.const 6) (i32.const 1088) (i32.const 4))
      (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $n) (i32.const 1000)))))

  (func $observe (export "homeostat:plugin/detect@0.1.0#observe")
    (param $seq i64) (param $lost i32) (param $age i64) (param $boot i64)
    (param $unix_some i32) (param $unix i64) (param $rows i32) (param $rows_len i32)
    (param $values i32) (param $values_len i32) (param $lines i32) (param $lines_len i32)
    (param $marks i32) (param $marks_len i32) (result i32)
    (local $order i32)
    (if (i32.eq (global.get $frames) (i32.const -1)) (then unreachable))
    (global.set $frames (i32.add (global.get $frames) (i32.const 1)))
    (if (local.get $values_len)
      (then (local.set $order (i32.trunc_sat_f64_u (f64.load (local.get $values))))))
    (if (i32.eq (local.get $order) (i32.const 1))
      (then
        (call $finding (i32.const 1056) (i32.const 10))
        (return (call $report (i32.const 512) (i32.const 1)))))
    (if (i32.eq (local.get $order) (i32.const 2)) (then unreachable))
    (if (i32.eq (local.get $order) (i32.const 3)) (then (loop $ever (br $ever))))
    (if (i32.eq (local.get $order) (i32.const 4))
      (then
        (loop $more
          (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
        unreachable))
    (if (i32.eq (local.get $order) (i32.const 5))
      (then
        (return (call $many
          (i32.trunc_sat_f64_u (f64.load offset=8 (local.get $values)))))))
    (if (i32.eq (local.get $order) (i32.const 6)) (then (call $flood)))
    (if (i32.eq (local.get $order) (i32.const 14))
      (then
        (call $flood)
        (loop $on
          (local.set $order (i32.add (local.get $order) (i32.const 1)))
          (br_if $on (i32.lt_u (local.get $order) (i32.const 30000000))))))
    (if (i32.eq (local.get $order) (i32.const 7))
      (then
        (call $finding (i32.const 1072) (i32.const 11))
        (return (call $report (i32.const 512) (i32.const 1)))))
    (if (i32.eq (local.get $order) (i32.const 8))
      (then (global.set $frames (i32.const -1))))
    (if (i32.eq (local.get $order) (i32.const 9))
      (then
        (call $log (i32.const 3) (i32.const 1200) (i32.const 20))
        unreachable))
    (if (i32.eq (local.get $order) (i32.const 10))
      (then
        (call $finding (i32.const 1056) (i32.const 10))
        (local.set $order
          (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 100000)))
        (memory.fill (local.get $order) (i32.const 120) (i32.const 100000))
        (i32.store (i32.const 548) (local.get $order))
        (i32.store (i32.const 552) (i32.const 100000))
        (return (call $report (i32.const 512) (i32.const 1)))))
    (if (i32.eq (local.get $order) (i32.const 12))
      (then
        (call $finding (i32.const 1056) (i32.const 10))
        (i32.store8 (i32.const 1088) (i32.const 255))
        (return (call $report (i32.const 512) (i32.const 1)))))
    (if (i32.eq (local.get $order) (i32.const 15))
      (then (return (call $deep (i32.const 0)))))
    (if (i32.eq (local.get $order) (i32.const 16))
      (then
        (loop $more
          (br_if $more
            (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
        unreachable))
    (if (i32.eq (local.get $order) (i32.const 17))
      (then
        (call $finding (i32.const 1056) (i32.const 10))
        (i32.store (i32.const 552) (i32.const 0x40000000))
        (return (call $report (i32.const 512) (i32.const 1)))))
    (if (i32.eq (local.get $order) (i32.const 18))
      (then (global.set $save_len (i32.const -1))))
    (if (i32.eq (local.get $order) (i32.const 11))
      (then (global.set $save_len (i32.const 300000))))
    (call $report (i32.const 0) (i32.const 0)))

  (func $save (result i32)
    (if (i32.eq (global.get $save_len) (i32.const -1)) (then unreachable))
    (i32.store (i32.const 640) (global.get $frames))
    (if (i32.gt_u (global.get $save_len) (i32.const 4))
      (then
        (drop (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (global.get $save_len)))))
    (i32.store (i32.const 256) (i32.const 640))
    (i32.store (i32.const 260) (global.get $save_len))
    (i32.const 256))

  (func $restore (param $ptr i32) (param $len i32) (result i32)
    (if (i32.ne (local.get $len) (i32.const 4))
      (then
        (i32.store (i32.const 256) (i32.const 1))
        (i32.store (i32.const 260) (i32.const 1168))
        (i32.store (i32.const 264) (i32.const 18))
        (return (i32.const 256))))
    (global.set $frames (i32.load (local.get $ptr)))
    (if (i32.eq (global.get $frames) (i32.const 13)) (then unreachable))
    (i32.store (i32.const 256) (i32.const 0))
    (i32.const 256))
  CHECKPOINT_EXPORTS
)
