;; A healer that does as the incident's seed says:
;;   0 wait, as many ms as it has decided before (it never has: it is fresh)
;;   1 trap    2 loop for ever    3 restart the root    4 an error of its own
;;   5 wait a year
(module
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (global $decided (mut i64) (i64.const 0))
  (data (i32.const 1024) "workload.restart")
  (data (i32.const 1056) "because")
  (data (i32.const 1072) "no")
  (data (i32.const 1088) "idea")

  (func (export "cabi_realloc")
    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $ptr i32)
    (local.set $ptr
      (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $ptr) (local.get $size)))
    (local.get $ptr))

  (func $wait (param $ms i64) (result i32)
    (i32.store8 (i32.const 264) (i32.const 1))
    (i64.store (i32.const 272) (local.get $ms))
    (i32.store (i32.const 280) (i32.const 1056))
    (i32.store (i32.const 284) (i32.const 7))
    (i32.const 256))

  ;; The parameters in memory: config at 0, incident from 8; its seed at 56,
  ;; its root at 96.
  (func (export "homeostat:plugin/heal@0.1.0#decide") (param $it i32) (result i32)
    (local $seed i64)
    (local.set $seed (i64.load offset=56 (local.get $it)))
    (if (i64.eq (local.get $seed) (i64.const 1)) (then unreachable))
    (if (i64.eq (local.get $seed) (i64.const 2)) (then (loop $ever (br $ever))))
    (if (i64.eq (local.get $seed) (i64.const 3))
      (then
        (i32.store (i32.const 272) (i32.const 1024))
        (i32.store (i32.const 276) (i32.const 16))
        (i32.store (i32.const 280) (i32.load offset=96 (local.get $it)))
        (i32.store (i32.const 284) (i32.load offset=100 (local.get $it)))
        (i32.store (i32.const 296) (i32.const 1056))
        (i32.store (i32.const 300) (i32.const 7))
        (return (i32.const 256))))
    (if (i64.eq (local.get $seed) (i64.const 4))
      (then
        (i32.store8 (i32.const 256) (i32.const 1))
        (i32.store (i32.const 264) (i32.const 1072))
        (i32.store (i32.const 268) (i32.const 2))
        (i32.store (i32.const 272) (i32.const 1088))
        (i32.store (i32.const 276) (i32.const 4))
        (return (i32.const 256))))
    (if (i64.eq (local.get $seed) (i64.const 5))
      (then (return (call $wait (i64.const 31536000000)))))
    (global.set $decided (i64.add (global.get $decided) (i64.const 1)))
    (call $wait (i64.sub (global.get $decided) (i64.const 1))))
)
