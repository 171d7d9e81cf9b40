!> Constants of the activation functions: ends of ranges, minimax coefficients.
!>
!> One module for each kind; their arrays differ in length.
module fq_activation_constants_real32
  use fq_kinds, only: ik => i32, wp => sp
  implicit none (type, external)
  private
  public :: BIAS, CUBIC_0, CUBIC_1, CUBIC_END, EXP_END, EXP_EVEN, EXP_ODD, EXP_TOP, &
    FRACTION_BITS, GELU_END, GELU_EVEN, GELU_FIRST, GELU_ODD, LN2, LOG_EVEN, LOG_FIRST, &
    LOG_MIDDLE, LOG_ODD, LOWER, ONE_CUBIC, ONE_EXP, ONE_TANH, RAISE, SILU_END, SOFTMAX_PLAIN

  integer(ik), parameter :: FRACTION_BITS = 23, BIAS = 127
  integer(ik), parameter :: LOWER = 4095  ! lower bits of a significand
  integer(ik), parameter :: RAISE = 64    ! exponent that what is tiny is raised by to stay normal

  ! Results are 0 below -..._END; exp(x) is infinite above EXP_TOP; 1 + exp(-x) is 1 above ONE_...,
  ! and so is tanh.
  real(wp), parameter :: EXP_END = 104.5_wp, SILU_END = 109, GELU_END = 14.45_wp, CUBIC_END = 11
  real(wp), parameter :: EXP_TOP = 89, ONE_EXP = 20, ONE_CUBIC = 5.5_wp, ONE_TANH = 10
  ! Magnitude of the largest argument up to which softmax need not subtract it.
  real(wp), parameter :: SOFTMAX_PLAIN = 240

  ! ln 2 in two parts, the first of 15 bits: its product with an integer below 512 is exact.
  real(wp), parameter :: LN2(2) = [0.693145751953125_wp, 1.4286068e-06_wp]
  ! (exp(r) - 1 - r)/r**2 for |r| <= 1.001 ln(2)/2, as EVEN(r**2) + r ODD(r**2); error 2**-27.7.
  real(wp), parameter :: EXP_EVEN(3) = [0.5_wp, 0.041666202_wp, 0.0013950604_wp]
  real(wp), parameter :: EXP_ODD(2) = [0.16666518_wp, 0.008368953_wp]
  ! (1 - log(1 + e)/e)/e in t = e - MIDDLE for 0 <= e <= 1, as FIRST + t (ODD(t**2) + t EVEN(t**2));
  ! error of the logarithm 2**-27.1.  This middle was taken because its FIRST needs little rounding.
  real(wp), parameter :: LOG_MIDDLE = 0.51171875_wp, LOG_FIRST = 0.376052_wp
  real(wp), parameter :: LOG_EVEN(4) = [ &
    0.09145931_wp, 0.027949583_wp, 0.009621931_wp, 0.0033184756_wp]
  real(wp), parameter :: LOG_ODD(4) = [ &
    -0.17706063_wp, -0.049756687_wp, -0.015961055_wp, -0.0066195866_wp]
  ! 2 (1 + z) Phi(-z) exp(z**2/2) - 1 in t = z/(z + 5) - 7/16 for 0 <= z <= GELU_END, as
  ! FIRST + t (ODD(t**2) + t EVEN(t**2)); error 2**-28.0.
  real(wp), parameter :: GELU_FIRST = -0.053164154_wp
  real(wp), parameter :: GELU_EVEN(5) = [ &
    0.19412161_wp, -1.4645075_wp, -2.7657506_wp, -0.77780676_wp, 0.41663486_wp]
  real(wp), parameter :: GELU_ODD(5) = [ &
    -0.39440742_wp, 0.44301406_wp, 2.4468687_wp, 2.092904_wp, -0.30483064_wp]
  ! -2 sqrt(2/pi) and -2 sqrt(2/pi) 0.044715, each in two parts, the first of 12 bits.
  real(wp), parameter :: CUBIC_0(2) = [-1.595703125_wp, -6.5996606e-5_wp]
  real(wp), parameter :: CUBIC_1(2) = [-0.07135009765625_wp, -4.7186164e-6_wp]
end module fq_activation_constants_real32

!> The same for float64.
module fq_activation_constants_real64
  use fq_kinds, only: ik => i64, wp => dp
  implicit none (type, external)
  private
  public :: BIAS, CUBIC_0, CUBIC_1, CUBIC_END, EXP_END, EXP_EVEN, EXP_ODD, EXP_TOP, &
    FRACTION_BITS, GELU_END, GELU_EVEN, GELU_FIRST, GELU_ODD, LN2, LOG_EVEN, LOG_FIRST, &
    LOG_MIDDLE, LOG_ODD, LOWER, ONE_CUBIC, ONE_EXP, ONE_TANH, RAISE, SILU_END, SOFTMAX_PLAIN

  integer(ik), parameter :: FRACTION_BITS = 52, BIAS = 1023
  integer(ik), parameter :: LOWER = 134217727
  integer(ik), parameter :: RAISE = 256

  real(wp), parameter :: EXP_END = 746, SILU_END = 753, GELU_END = 38.7_wp, CUBIC_END = 22
  real(wp), parameter :: EXP_TOP = 710, ONE_EXP = 40, ONE_CUBIC = 7.5_wp, ONE_TANH = 20
  real(wp), parameter :: SOFTMAX_PLAIN = 1900

  ! The first part has 41 bits, for integers below 4096.
  real(wp), parameter :: LN2(2) = [0.693147180559663_wp, 2.8235290563031577e-13_wp]
  ! Error 2**-56.6.
  real(wp), parameter :: EXP_EVEN(5) = [ &
    0.5000000000000013_wp, 0.04166666666651433_wp, 0.001388888894733056_wp, &
    2.4801489591256288e-05_wp, 2.763141354900241e-07_wp]
  real(wp), parameter :: EXP_ODD(5) = [ &
    0.166666666666667_wp, 0.008333333333307035_wp, 0.0001984126991775403_wp, &
    2.7557215968130323e-06_wp, 2.5117967171735632e-08_wp]
  ! Error of the logarithm 2**-56.0.
  real(wp), parameter :: LOG_MIDDLE = 0.484375_wp, LOG_FIRST = 0.3809629151356927_wp
  real(wp), parameter :: LOG_EVEN(9) = [ &
    0.09566794955810302_wp, 0.030291901641943595_wp, 0.010583615978866645_wp, &
    0.003908613080619413_wp, 0.0014961068752252788_wp, 0.0005870207113176799_wp, &
    0.00023651023865931168_wp, 8.710160557717684e-05_wp, 5.8646050585759384e-05_wp]
  real(wp), parameter :: LOG_ODD(10) = [ &
    -0.1821762472156281_wp, -0.05293415181805169_wp, -0.01774897618403478_wp, &
    -0.006397079247948109_wp, -0.0024093412985294466_wp, -0.0009346488583909902_wp, &
    -0.0003716588858964826_wp, -0.00014513719321986984_wp, -6.818229446122871e-05_wp, &
    -2.532946287791037e-05_wp]
  ! Error 2**-55.2.
  real(wp), parameter :: GELU_FIRST = -0.05316415342927855_wp
  real(wp), parameter :: GELU_EVEN(11) = [ &
    0.19412189458695797_wp, -1.464530259423882_wp, -2.7650130174855576_wp, -0.788944289355756_wp, &
    0.4933285469329375_wp, -0.1928200374747184_wp, 0.0770493647140608_wp, &
    -0.03816234354882837_wp, 0.02393051027224946_wp, -0.01503293823302856_wp, &
    0.005904455528162149_wp]
  real(wp), parameter :: GELU_ODD(11) = [ &
    -0.3944073794022349_wp, 0.4430072743900022_wp, 2.4471599413716745_wp, 2.0878592920907115_wp, &
    -0.2666317096203846_wp, -0.11515742620249143_wp, 0.11492388136490789_wp, &
    -0.0741582742275551_wp, 0.04385757653240727_wp, -0.02321685601134957_wp, &
    0.008136863847645757_wp]
  ! The first parts have 26 bits.
  real(wp), parameter :: CUBIC_0(2) = [-1.5957691073417664_wp, -1.426396435433791e-08_wp]
  real(wp), parameter :: CUBIC_1(2) = [-0.071354815736413_wp, -5.361872467621785e-10_wp]
end module fq_activation_constants_real64
