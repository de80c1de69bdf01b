// SPDX-License-Identifier: GPL-2.0-or-later
// The floating-point kernels: n-body, matrix product, spectral norm, fast Fourier transform.
#include <math.h>
#include <string.h>

#include "kernels.h"

static void print_result(double result, const double* values, uint32_t count) {
    uint32_t hash = 2166136261u;
    for (uint32_t i = 0; i < count; ++i) {
        uint64_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        hash = (hash ^ (uint32_t)(bits >> 32)) * 16777619u;
        hash = (hash ^ (uint32_t)bits) * 16777619u;
    }
    printf("%.6e bits %08x\n", result, (unsigned)hash);
}

// --- nbody: the sun and four planets; one round is 100 steps of a hundredth of a day -------------

enum { kBodies = 5, kStepsPerRound = 100 };

typedef struct {
    double x[3], v[3], mass;
} Body;

static const double kPi = 3.141592653589793;
static const double kDaysPerYear = 365.24;

static void set_up_bodies(Body bodies[kBodies]) {
    static const double kPlanets[kBodies][7] = {
        {0, 0, 0, 0, 0, 0, 1},
        {4.84143144246472090e+00, -1.16032004402742839e+00, -1.03622044471123109e-01,
         1.66007664274403694e-03, 7.69901118419740425e-03, -6.90460016972063023e-05,
         9.54791938424326609e-04},
        {8.34336671824457987e+00, 4.12479856412430479e+00, -4.03523417114321381e-01,
         -2.76742510726411151e-03, 4.99852801234917238e-03, 2.30417297573763929e-05,
         2.85885980666130812e-04},
        {1.28943695621391310e+01, -1.51111514016986312e+01, -2.23307578892655734e-01,
         2.96460137564761618e-03, 2.37847173959480950e-03, -2.96589568540237556e-05,
         4.36624404335156298e-05},
        {1.53796971148509165e+01, -2.59193146099879641e+01, 1.79258772950371181e-01,
         2.68067772490389322e-03, 1.62824170038242295e-03, -9.51592254519715870e-05,
         5.15138902046611451e-05},
    };
    double momentum[3] = {0, 0, 0};
    double sun_mass = 4 * kPi * kPi;
    for (int i = 0; i < kBodies; ++i) {
        bodies[i].mass = kPlanets[i][6] * sun_mass;
        for (int axis = 0; axis < 3; ++axis) {
            bodies[i].x[axis] = kPlanets[i][axis];
            bodies[i].v[axis] = kPlanets[i][axis + 3] * kDaysPerYear;
            momentum[axis] += bodies[i].v[axis] * bodies[i].mass;
        }
    }
    for (int axis = 0; axis < 3; ++axis) {
        bodies[0].v[axis] = -momentum[axis] / sun_mass;
    }
}

static void advance_bodies(Body bodies[kBodies], double time) {
    for (int i = 0; i < kBodies; ++i) {
        Body* a = &bodies[i];
        for (int j = i + 1; j < kBodies; ++j) {
            Body* b = &bodies[j];
            double dx = a->x[0] - b->x[0];
            double dy = a->x[1] - b->x[1];
            double dz = a->x[2] - b->x[2];
            double square = dx * dx + dy * dy + dz * dz;
            double force = time / (square * sqrt(square));
            a->v[0] -= dx * b->mass * force;
            a->v[1] -= dy * b->mass * force;
            a->v[2] -= dz * b->mass * force;
            b->v[0] += dx * a->mass * force;
            b->v[1] += dy * a->mass * force;
            b->v[2] += dz * a->mass * force;
        }
    }
    for (int i = 0; i < kBodies; ++i) {
        for (int axis = 0; axis < 3; ++axis) {
            bodies[i].x[axis] += time * bodies[i].v[axis];
        }
    }
}

static double energy(const Body bodies[kBodies]) {
    double sum = 0;
    for (int i = 0; i < kBodies; ++i) {
        const Body* a = &bodies[i];
        sum += 0.5 * a->mass * (a->v[0] * a->v[0] + a->v[1] * a->v[1] + a->v[2] * a->v[2]);
        for (int j = i + 1; j < kBodies; ++j) {
            const Body* b = &bodies[j];
            double dx = a->x[0] - b->x[0];
            double dy = a->x[1] - b->x[1];
            double dz = a->x[2] - b->x[2];
            sum -= a->mass * b->mass / sqrt(dx * dx + dy * dy + dz * dz);
        }
    }
    return sum;
}

void run_nbody(uint32_t rounds) {
    Body bodies[kBodies];
    double state[kBodies * 6];
    set_up_bodies(bodies);
    for (uint32_t round = 0; round < rounds; ++round) {
        for (int step = 0; step < kStepsPerRound; ++step) {
            advance_bodies(bodies, 0.01);
        }
    }
    for (int i = 0; i < kBodies; ++i) {
        memcpy(state + 6L * i, bodies[i].x, sizeof bodies[i].x);
        memcpy(state + 6L * i + 3, bodies[i].v, sizeof bodies[i].v);
    }
    print_result(energy(bodies), state, kBodies * 6);
}

// --- fmatrix: product of two matrices of 80 by 80 ------------------------------------------------

enum { kOrder = 80 };

void run_fmatrix(uint32_t rounds) {
    static double a[kOrder][kOrder];
    static double b[kOrder][kOrder];
    static double c[kOrder][kOrder];
    uint32_t random = 362436069u;
    double sum = 0;
    for (int i = 0; i < kOrder; ++i) {
        for (int j = 0; j < kOrder; ++j) {
            a[i][j] = (double)(next_random(&random) >> 8) / 16777216;
            b[i][j] = (double)(next_random(&random) >> 8) / 16777216;
        }
    }
    for (uint32_t round = 0; round < rounds; ++round) {
        a[round % kOrder][round % 7] += 0.001;
        for (int i = 0; i < kOrder; ++i) {
            for (int j = 0; j < kOrder; ++j) {
                double dot = 0;
                for (int k = 0; k < kOrder; ++k) {
                    dot += a[i][k] * b[k][j];
                }
                c[i][j] = dot;
            }
        }
        sum += c[round % kOrder][(round * 7) % kOrder];
    }
    print_result(sum, &c[0][0], kOrder * kOrder);
}

// --- spectral: the spectral norm of a matrix that is computed as it is used ----------------------

enum { kNormOrder = 60 };

static double element(int i, int j) {
    return 1.0 / ((i + j) * (i + j + 1) / 2 + i + 1);
}

static void multiply(const double* v, double* result, int transposed) {
    for (int i = 0; i < kNormOrder; ++i) {
        double dot = 0;
        for (int j = 0; j < kNormOrder; ++j) {
            dot += (transposed != 0 ? element(j, i) : element(i, j)) * v[j];
        }
        result[i] = dot;
    }
}

void run_spectral(uint32_t rounds) {
    double u[kNormOrder];
    double v[kNormOrder];
    double between[kNormOrder];
    for (int i = 0; i < kNormOrder; ++i) {
        u[i] = 1;
        v[i] = 0;
    }
    for (uint32_t round = 0; round < rounds; ++round) {
        multiply(u, between, 0);
        multiply(between, v, 1);
        multiply(v, between, 0);
        multiply(between, u, 1);
        // Kept in range: the norm is above 1, and thousands of rounds would overflow.
        for (int i = 0; i < kNormOrder; ++i) {
            u[i] /= 2.64;
        }
    }
    double uv = 0;
    double vv = 0;
    for (int i = 0; i < kNormOrder; ++i) {
        uv += u[i] * 2.64 * v[i];
        vv += v[i] * v[i];
    }
    print_result(sqrt(uv / vv), u, kNormOrder);
}

// --- fft: forth and back over 4096 complex numbers -----------------------------------------------

enum { kPoints = 4096 };

typedef struct {
    double re, im;
} Complex;

static void transform(Complex* x, const Complex* roots, double direction) {
    for (uint32_t i = 1, j = 0; i < kPoints; ++i) {
        uint32_t bit = kPoints / 2;
        for (; (j & bit) != 0; bit >>= 1) {
            j ^= bit;
        }
        j ^= bit;
        if (i < j) {
            Complex swapped = x[i];
            x[i] = x[j];
            x[j] = swapped;
        }
    }
    for (uint32_t length = 2; length <= kPoints; length *= 2) {
        uint32_t half = length / 2;
        uint32_t stride = kPoints / length;
        for (uint32_t start = 0; start < kPoints; start += length) {
            for (uint32_t k = 0; k < half; ++k) {
                Complex root = roots[k * stride];
                Complex* a = &x[start + k];
                Complex* b = &x[start + k + half];
                double im = root.im * direction;
                double re_product = b->re * root.re - b->im * im;
                double im_product = b->re * im + b->im * root.re;
                b->re = a->re - re_product;
                b->im = a->im - im_product;
                a->re += re_product;
                a->im += im_product;
            }
        }
    }
}

void run_fft(uint32_t rounds) {
    static Complex x[kPoints];
    static Complex roots[kPoints / 2];
    uint32_t random = 88172645u;
    double sum = 0;
    // Powers of the first root: no library's sine, so that only what is measured can differ.
    Complex first = {0.99999882345170190, 0.0015339801862847655};
    roots[0].re = 1;
    for (int i = 1; i < kPoints / 2; ++i) {
        roots[i].re = roots[i - 1].re * first.re - roots[i - 1].im * first.im;
        roots[i].im = roots[i - 1].re * first.im + roots[i - 1].im * first.re;
    }
    for (int i = 0; i < kPoints; ++i) {
        x[i].re = (double)(next_random(&random) >> 8) / 16777216;
        x[i].im = 0;
    }
    for (uint32_t round = 0; round < rounds; ++round) {
        transform(x, roots, -1);
        transform(x, roots, 1);
        for (int i = 0; i < kPoints; ++i) {
            x[i].re /= kPoints;
            x[i].im /= kPoints;
        }
    }
    for (int i = 0; i < kPoints; ++i) {
        sum += x[i].re;
    }
    print_result(sum, &x[0].re, 2 * kPoints);
}
